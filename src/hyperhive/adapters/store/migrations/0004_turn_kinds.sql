-- A turn takes mail or makes the session shorter; all that there are took mail.
ALTER TABLE turns ADD COLUMN kind TEXT NOT NULL DEFAULT 'mail';
