"""Sign-in codes, tickets, decisions and the mails that follow from them, told by their history."""
