// Answers a list of questions about IAM policies: {account, policies, questions} as JSON on standard
// input, a list of true and false on standard output. A policy or a request that the simulator calls
// invalid ends it.
import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const { account, policies, questions } = JSON.parse(readFileSync(0, 'utf-8'))

async function allows(question, resource) {
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/${question.role}`,
        action: question.action,
        resource: { resource, accountId: account },
        contextVariables: question.context,
      },
      identityPolicies: policies[question.role].map((policy, index) => ({
        name: `${question.role}-${index}`,
        policy,
      })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  )
  if (answer.resultType === 'error') {
    throw new Error(`${question.action} on ${resource}: ${JSON.stringify(answer.errors)}`)
  }
  return answer.overallResult === 'Allowed'
}

const answers = []
for (const question of questions) {
  let all = true
  for (const resource of question.resources) all = (await allows(question, resource)) && all
  answers.push(all)
}
console.log(JSON.stringify(answers))
