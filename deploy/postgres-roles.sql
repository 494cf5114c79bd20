-- The roles of docs/how-to/servers.md, which PostgreSQL's image creates with a new volume: the owner of the schema, what the tagger
-- does its work as, and other programs that only read. Nobody can connect as the superuser over the network.
\getenv owner_password DB_OWNER_PASSWORD
\getenv password DB_PASSWORD
\getenv reader_password DB_READER_PASSWORD
CREATE ROLE tagger_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tagger LOGIN PASSWORD :'password';
CREATE ROLE tagger_reader LOGIN PASSWORD :'reader_password';
CREATE DATABASE tagger OWNER tagger_owner;
REVOKE ALL ON DATABASE tagger FROM PUBLIC;
GRANT CONNECT ON DATABASE tagger TO tagger, tagger_reader;
ALTER ROLE CURRENT_USER PASSWORD NULL;
\connect tagger
SET ROLE tagger_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tagger, tagger_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tagger;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO tagger;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO tagger_reader;
