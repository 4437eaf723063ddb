#!/bin/sh
# Starts Redis with one login, which has the rights of Runyard's processes. The arguments are those of Redis.
# The password is read from a file and written, hashed, to another: no argument holds it.
set -eu
umask 077
users=/tmp/users.acl
hash=$(tr -d '\n' < /run/secrets/redis_password | sha256sum | cut -d ' ' -f 1)
rules='~* resetchannels &runyard:* &/0.celery.pidbox &/0.celeryev &/0.celeryev/* &/1.celery.pidbox &/1.celeryev &/1.celeryev/* &/2.celery.pidbox &/2.celeryev &/2.celeryev/* &/3.celery.pidbox &/3.celeryev &/3.celeryev/* &/4.celery.pidbox &/4.celeryev &/4.celeryev/* &/5.celery.pidbox &/5.celeryev &/5.celeryev/* &/6.celery.pidbox &/6.celeryev &/6.celeryev/* &/7.celery.pidbox &/7.celeryev &/7.celeryev/* &/8.celery.pidbox &/8.celeryev &/8.celeryev/* &/9.celery.pidbox &/9.celeryev &/9.celeryev/* &/10.celery.pidbox &/10.celeryev &/10.celeryev/* &/11.celery.pidbox &/11.celeryev &/11.celeryev/* &/12.celery.pidbox &/12.celeryev &/12.celeryev/* &/13.celery.pidbox &/13.celeryev &/13.celeryev/* &/14.celery.pidbox &/14.celeryev &/14.celeryev/* &/15.celery.pidbox &/15.celeryev &/15.celeryev/* -@all +ping +select +info +client|setinfo +client|setname +lpush +lpushx +rpush +rpop +brpop +llen +lrange +del +exists +expire +pexpire +sadd +srem +smembers +zadd +zrem +zrange +zrangebyscore +zrevrangebyscore +hset +hget +hdel +watch +unwatch +multi +exec +discard +set +get +evalsha +script|exists +script|load +time +publish +subscribe +unsubscribe +psubscribe +punsubscribe'
# In a shared Redis, the login may only use keys and channels with its prefix.
rules=$(printf '%s' "$rules" | sed "s|[~&]|&${RUNYARD_REDIS_PREFIX:-}|g")
printf 'user default off\nuser runyard on #%s %s\n' "$hash" "$rules" > "$users"
chown redis "$users"
exec docker-entrypoint.sh redis-server "$@" --aclfile "$users"
