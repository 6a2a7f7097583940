-- Roles with the least rights. The owner of the database runs this after each `siutindei database
-- migrate`; it can be repeated. Give login roles of your own to these:
--   GRANT siutindei_writer TO some_login;

-- All of it or nothing: who works meanwhile keeps its rights.
BEGIN;

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'siutindei_writer') THEN
    CREATE ROLE siutindei_writer NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'siutindei_reader') THEN
    CREATE ROLE siutindei_reader NOLOGIN;
  END IF;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM siutindei_writer, siutindei_reader;
GRANT USAGE ON SCHEMA public TO siutindei_writer, siutindei_reader;

-- The reader sees everything and changes nothing: auditors, replays.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO siutindei_reader;

-- The writer carries out commands and works. An event, once there, is out of its reach, and so is
-- the leaf that says what it was.
GRANT SELECT ON siutindei_schema TO siutindei_writer;
GRANT SELECT, INSERT ON stored_events, leaves, commands, vault_erased TO siutindei_writer;
GRANT SELECT, INSERT, UPDATE ON key_checks TO siutindei_writer;
GRANT SELECT, INSERT, DELETE ON vault_keys TO siutindei_writer;
GRANT EXECUTE ON FUNCTION scrub_vault_keys() TO siutindei_writer;
-- This table has no rows; the right to change it is the right to lock it.
GRANT UPDATE ON write_lock TO siutindei_writer;
-- Read models are made from the events, in tables whose names this table gives.
GRANT SELECT ON projections TO siutindei_writer;
DO $$ DECLARE made record; BEGIN
  FOR made IN SELECT name, generation FROM projections WHERE state <> 'dropped' LOOP
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO siutindei_writer',
      made.name || '_' || made.generation);
  END LOOP;
END $$;

COMMIT;
