# Runs in the machine, as root, in the folder that was copied in.
set -eu
user=@USER@
id=$(id -u "$user")
work=/home/$user/rbuild-job
mkdir -p "$work" out
cp -r rbuild base project hello busybox.tar debian.tar "$work"
chown -R "$user" "$work"
mkdir -p "/run/user/$id" && chown "$user" "/run/user/$id" && chmod 700 "/run/user/$id"
# Machines without udev make it for root alone.
[ ! -e /dev/net/tun ] || chmod 666 /dev/net/tun
cd "$work"
as_user() {
    setpriv --reuid "$id" --regid "$(id -g "$user")" --init-groups env -i \
        HOME="/home/$user" PATH=/usr/sbin:/usr/bin:/sbin:/bin XDG_RUNTIME_DIR="/run/user/$id" \
        SOURCE_DATE_EPOCH=1700000000 "$@"
}
report() { echo "== $*" >> "$OLDPWD/out/report"; }
export SOURCE_DATE_EPOCH=1700000000
tar -C base -cf base.tar .
chmod 644 base.tar
as_user ./rbuild import base.tar base > /dev/null
# The same base for both: importing tells the time.
as_user ./rbuild import busybox.tar busybox:latest > /dev/null
as_user ./rbuild import debian.tar debian:bookworm-slim > /dev/null
as_user ./rbuild save -o base.image base busybox:latest debian:bookworm-slim
./rbuild --root /var/lib/rbuild-root load -i base.image > /dev/null
report "the user builds"
as_user ./rbuild build --progress plain -t result project >> "$OLDPWD/out/report" 2>&1
as_user ./rbuild build -q -t result project > "$OLDPWD/out/user.result"
as_user ./rbuild build -q -t hello hello > "$OLDPWD/out/user.hello"
report "root builds"
./rbuild --root /var/lib/rbuild-root build -q -t result project > "$OLDPWD/out/root.result"
./rbuild --root /var/lib/rbuild-root build -q -t hello hello > "$OLDPWD/out/root.hello"
report "the user runs"
as_user ./rbuild run --rm result >> "$OLDPWD/out/report" 2>&1
as_user ./rbuild run --rm hello you >> "$OLDPWD/out/report" 2>&1
report "two commands at once, one published port"
as_user ./rbuild run --rm --init -u 0 -p 127.0.0.1:18080:80 result httpd -f -p 80 -h /kept &
server=$!
tries=0
until wget -q -O page http://127.0.0.1:18080/Dockerfile 2> /dev/null || busybox wget -q -O page http://127.0.0.1:18080/Dockerfile 2> /dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "the published port does not answer" >> "$OLDPWD/out/report"; exit 1; }
    sleep 1
done
cmp page project/Dockerfile
as_user ./rbuild run --rm --network none result true
keeper=$(pgrep -u "$user" rbuild-keeper)
[ "$(echo "$keeper" | wc -l)" = 1 ]
kill -TERM "$(pgrep -u "$user" -f 'run --rm --init -u 0' | head -1)"
wait "$server" || true
tries=0
while pgrep -u "$user" 'rbuild-keeper|slirp4netns|pasta' > /dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 30 ] || { echo "the keeper or the way out stays" >> "$OLDPWD/out/report"; exit 1; }
    sleep 1
done
report "a limit that cannot be enforced is refused"
if as_user ./rbuild run --rm -m 32m result true >> "$OLDPWD/out/report" 2>&1; then exit 1; fi
report "done"
