#!/bin/sh
# Runs examples/nginx.conf before a running Highwater: nginx.sh http://127.0.0.1:8080 'psql … -c "UPDATE …"'
# 200 identical polls are held, the command changes a row, and Highwater must see only a few of them: one,
# and one more for each second by which some came too late.
set -eu
service=$1
write=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'kill "$nginx" 2>/dev/null || true; rm -rf "$work"' EXIT
{
    printf 'daemon off; error_log %s/error.log; pid %s/pid; events { worker_connections 2048; }\n' "$work" "$work"
    printf 'http { access_log off;\n'
    sed -e "s,/var/cache/nginx,$work," -e "s,127.0.0.1:8080,${service#http://}," -e 's,listen 8081,listen 127.0.0.1:8081,' \
        "$here/examples/nginx.conf"
    printf '}\n'
} >"$work/nginx.conf"
# The workers are another user's.
chmod 755 "$work"
nginx -p "$work" -c "$work/nginx.conf" &
nginx=$!
sleep 1

asked() { # polls that Highwater itself has answered with 200
    curl -sf "$service/metrics" |
        sed -n 's,^highwater_http_requests_total{method="GET"\,route="/v1/changes"\,status="200"} ,,p' | grep . || echo 0
}
proxy=http://127.0.0.1:8081
version() { curl -sf "$1" | sed 's/{"version":"\([^"]*\)".*/\1/'; }

after=$(version "$service/v1/changes")
before=$(asked)
seq 200 | xargs -P 200 -I{} curl -sf -o "$work/answer.{}" "$proxy/v1/changes?after=$after&wait=30s" &
polls=$!
sleep 5
sh -c "$write" >/dev/null
wait "$polls"
different=$(cat "$work"/answer.* | sed 's/$/\n/' | sort -u | grep -c .)
answers=$(ls "$work"/answer.* | wc -l)
held=$(($(asked) - before))
echo "$answers polls, $different different answers, $held polls at Highwater"
[ "$answers" = 200 ] && [ "$different" = 1 ] && [ "$held" -le 5 ]

# A reset and an error come from Highwater each time.
status() { curl -s -o /dev/null -D - "$1" | tr -d '\r' | sed -n 's/^X-Cache: //p'; }
for path in '/v1/changes' '/v1/changes?limit=x' '/v1/changes?after=00000000-0000000000000001'; do
    first=$(status "$proxy$path")
    second=$(status "$proxy$path")
    echo "$path: ${first:-none}, ${second:-none}"
    [ "$first" != HIT ] && [ "$second" != HIT ]
done
timeout 3 curl -sN "$proxy/v1/stream" | grep -q '^data: '
echo "a stream passes"
