-- The two roles of an installation, and what each may do in the current database.
--
-- Run by a superuser, as often as you like: what is missing is made, what an earlier release left
-- to another owner is handed over. The passwords come as settings of the session:
-- runyard.owner_password and runyard.app_password. One block, so all of it or nothing.
--
--   runyard_owner   owns the schema and runs the migrations
--   runyard_app     reads and writes rows; it makes nothing, and is no way to files or programs

DO $roles$
DECLARE
    role_name text;
    found record;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['runyard_owner', 'runyard_app'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
        EXECUTE format(
            'ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L',
            role_name,
            current_setting('runyard.' || replace(role_name, 'runyard_', '') || '_password')
        );
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    CREATE SCHEMA IF NOT EXISTS public;
    ALTER SCHEMA public OWNER TO runyard_owner;

    FOR found IN
        SELECT relation.oid::regclass AS name
        FROM pg_class AS relation
        WHERE relation.relnamespace = 'public'::regnamespace
          AND relation.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND relation.relowner <> 'runyard_owner'::regrole
          -- The sequence of a column goes with its table.
          AND NOT (relation.relkind = 'S' AND EXISTS (
              SELECT FROM pg_depend AS tie
              WHERE tie.classid = 'pg_class'::regclass AND tie.objid = relation.oid AND tie.deptype IN ('a', 'i')
          ))
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO runyard_owner', found.name);
    END LOOP;
    FOR found IN
        SELECT routine.oid::regprocedure AS name
        FROM pg_proc AS routine
        WHERE routine.pronamespace = 'public'::regnamespace AND routine.proowner <> 'runyard_owner'::regrole
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO runyard_owner', found.name);
    END LOOP;

    GRANT USAGE ON SCHEMA public TO runyard_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runyard_app;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO runyard_app;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO runyard_app;
    ALTER DEFAULT PRIVILEGES FOR ROLE runyard_owner IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO runyard_app;
    ALTER DEFAULT PRIVILEGES FOR ROLE runyard_owner IN SCHEMA public
        GRANT USAGE, SELECT ON SEQUENCES TO runyard_app;
    ALTER DEFAULT PRIVILEGES FOR ROLE runyard_owner IN SCHEMA public
        GRANT EXECUTE ON FUNCTIONS TO runyard_app;
END
$roles$;
