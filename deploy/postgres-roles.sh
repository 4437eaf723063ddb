#!/bin/sh
# Creates the two roles of Runyard. PostgreSQL's image runs this once, when it creates the database.
# On data of an earlier release, run it by hand before the new `migrate`:
#
#   docker compose --file deploy/compose.yaml up --detach postgres
#   docker compose --file deploy/compose.yaml exec postgres sh /docker-entrypoint-initdb.d/10-roles.sh
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
-- Read from the environment: a password in an argument would be in the process table.
\getenv owner_password POSTGRES_OWNER_PASSWORD
\getenv app_password POSTGRES_APP_PASSWORD
SELECT set_config('runyard.owner_password', :'owner_password', false),
       set_config('runyard.app_password', :'app_password', false) \g /dev/null
\include /etc/runyard/roles.sql
SQL
