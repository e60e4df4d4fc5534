package attack

import "testing"

// work is something honest that people let their machines do. Its script runs with
// `set -eu` in an empty folder $W, has the TCP port $P for itself, and must end well.
type work struct {
	name   string
	needs  []string // programs
	script string
	opts   []option
	// host: also done on the host, outside of every container.
	host bool
	// known are rules that tell this work at medium or above though they should not, and
	// why; what is not told any more is to be taken out.
	known map[string]string
}

// ask fetches a page from a server that may still be starting.
const ask = `ask() { for i in $(seq 300); do curl -fsS "$@" 2>/dev/null && return; sleep 0.1; done; curl -fsS "$@"; }
until_ok() { for i in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; "$@"; }
`

func honestWork(t testing.TB) []work {
	var all []work
	for _, l := range [][]work{packaging(), building(t), serving(), housekeeping(t), living()} {
		all = append(all, l...)
	}
	return all
}

func packaging() []work {
	return []work{
		{name: "apt", needs: []string{"apt-get", "dpkg-deb", "dpkg-scanpackages", "useradd"}, script: `
for v in 1 2; do
  mkdir -p p$v/DEBIAN p$v/usr/bin p$v/etc/cron.d p$v/etc/logrotate.d p$v/lib/systemd/system p$v/usr/share/honest repo
  printf 'Package: bollwerk-honest\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: honest\n' $v > p$v/DEBIAN/control
  printf '#!/bin/sh\nset -e\nif [ "$1" = configure ]; then\n  id honest >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin honest\n  mkdir -p /var/lib/honest; chown honest /var/lib/honest; chmod 750 /var/lib/honest\n  /usr/bin/honest-tool --init\n  ldconfig\nfi\nexit 0\n' > p$v/DEBIAN/postinst
  printf '#!/bin/sh\nset -e\n[ "$1" != purge ] || { rm -rf /var/lib/honest; userdel honest || true; }\n' > p$v/DEBIAN/postrm
  chmod 755 p$v/DEBIAN/post*
  printf '#!/bin/sh\necho honest '$v' > /var/lib/honest/version\n' > p$v/usr/bin/honest-tool; chmod 755 p$v/usr/bin/honest-tool
  cp /bin/true p$v/usr/bin/honest-binary
  echo '0 4 * * * root /usr/bin/honest-tool' > p$v/etc/cron.d/honest
  printf '/var/log/honest.log {\n rotate 3\n missingok\n}\n' > p$v/etc/logrotate.d/honest
  printf '[Service]\nExecStart=/usr/bin/honest-tool\n' > p$v/lib/systemd/system/honest.service
  for i in $(seq 200); do echo $i > p$v/usr/share/honest/f$i; done
  dpkg-deb --root-owner-group -b p$v repo/bollwerk-honest_$v.deb
done
mkdir old; mv repo/bollwerk-honest_2.deb old/
chmod 755 /home "$W"
echo "deb [trusted=yes] file:$W/repo ./" > list
o="-q -y -o Dir::Etc::sourcelist=$W/list -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root"
(cd repo; dpkg-scanpackages . > Packages 2>/dev/null)
apt-get $o update
DEBIAN_FRONTEND=noninteractive apt-get $o install bollwerk-honest
mv old/*.deb repo/; (cd repo; dpkg-scanpackages -m . > Packages 2>/dev/null)
apt-get $o update
DEBIAN_FRONTEND=noninteractive apt-get $o --only-upgrade install bollwerk-honest
[ "$(cat /var/lib/honest/version)" = 'honest 2' ]
honest-tool
apt-get $o purge bollwerk-honest
dpkg -l > /dev/null`, opts: []option{ordinary}},
		{name: "dpkg", needs: []string{"dpkg-deb"}, host: true, script: `
mkdir -p p/DEBIAN p/usr/share/honest root/var/lib/dpkg/info root/var/lib/dpkg/updates; : > root/var/lib/dpkg/status
printf 'Package: bollwerk-honest\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: honest\n' > p/DEBIAN/control
printf '#!/bin/sh\nset -e\nmkdir -p "$DPKG_ROOT/var/lib/honest"\necho done > "$DPKG_ROOT/var/lib/honest/state"\n' > p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst
echo data > p/usr/share/honest/data
dpkg-deb --root-owner-group -b p honest.deb
dpkg --root="$W/root" --force-script-chrootless -i honest.deb
[ -f root/usr/share/honest/data ]
dpkg --root="$W/root" -P bollwerk-honest`},
		{name: "npm", needs: []string{"npm", "node"}, host: true, script: `
mkdir -p dep/bin app
printf '{"name":"honest-dep","version":"1.0.0","bin":{"honest":"tool.js"},"scripts":{"preinstall":"sh -c true","postinstall":"node install.js"}}' > dep/package.json
printf '#!/usr/bin/env node\nconsole.log("tool")\n' > dep/tool.js
cp /bin/echo dep/bin/native
echo 'const f=require("fs"),c=require("child_process");f.mkdirSync("build",{recursive:true});f.writeFileSync("build/ready","1");f.chmodSync("bin/native",0o755);console.log(c.execFileSync("./bin/native",["native"]).toString(),c.execSync("uname -m").toString())' > dep/install.js
for i in $(seq 1500); do echo "module.exports=$i" > dep/m$i.js; done
(cd dep; npm pack --silent)
cd app
printf '{"name":"app","version":"1.0.0","scripts":{"test":"honest && node t.js"}}' > package.json; echo 'require("honest-dep/m7")' > t.js
npm install --offline --no-audit --no-fund --no-update-notifier --foreground-scripts ../dep/honest-dep-1.0.0.tgz
npm test --silent --no-update-notifier
rm -rf node_modules`},
		{name: "pip", needs: []string{"/usr/bin/python3"}, host: true, script: `
mkdir -p src/honest
printf 'from setuptools import setup\nsetup(name="honest", version="1.0", packages=["honest"], entry_points={"console_scripts":["honest=honest:main"]})\n' > src/setup.py
echo 'def main(): print("honest")' > src/honest/__init__.py
/usr/bin/python3 - <<'PY'
import zipfile
z=zipfile.ZipFile("wheely-1.0-py3-none-any.whl","w")
z.writestr("wheely.py","x=1\n"); d="wheely-1.0.dist-info/"
z.writestr(d+"METADATA","Metadata-Version: 2.1\nName: wheely\nVersion: 1.0\n")
z.writestr(d+"WHEEL","Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
z.writestr(d+"RECORD","wheely.py,,\n"+d+"METADATA,,\n"+d+"WHEEL,,\n"+d+"RECORD,,\n"); z.close()
PY
/usr/bin/python3 -m venv --without-pip v
/usr/bin/python3 -m pip install -q --no-index --disable-pip-version-check --root-user-action=ignore --target t ./wheely-1.0-py3-none-any.whl
PYTHONPATH=t v/bin/python3 -c 'import wheely'
cd src; /usr/bin/python3 setup.py -q sdist
/usr/bin/python3 setup.py -q build
PYTHONPATH=build/lib /usr/bin/python3 -c 'import honest; honest.main()'`},
	}
}

func building(t testing.TB) []work {
	return []work{
		{name: "go", needs: []string{"go"}, host: true, opts: []option{goCache(t)}, script: `
export PATH=$PATH:/usr/local/go/bin GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off GOTELEMETRY=off
printf 'module honest\n\ngo 1.26\n' > go.mod
printf 'package main\n\nimport "fmt"\n\nfunc add(a, b int) int { return a + b }\n\nfunc main() { fmt.Println(add(1, 2)) }\n' > main.go
printf 'package main\n\nimport "testing"\n\nfunc TestAdd(t *testing.T) {\n\tif add(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n' > main_test.go
go vet . && go test . && go build -o app . && go run .`},
		{name: "make", needs: []string{"make", "gcc"}, host: true, script: `
printf '#include <stdio.h>\nint main(void) { puts("built"); return 0; }\n' > main.c
printf 'int twice(int x) { return 2 * x; }\n' > lib.c
printf 'all: app check\napp: main.o lib.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O1 -c -o $@ $<\nlib.so: lib.c\n\tgcc -shared -fPIC -o $@ $<\ncheck: app lib.so\n\t./app\nclean:\n\trm -f *.o app lib.so\n' > Makefile
make -s && make -s clean
printf '#!/bin/sh\ncat > conftest.c <<X\nint main(void){return 0;}\nX\ngcc -o conftest conftest.c && ./conftest && rm -f conftest*\n' > configure
chmod +x configure && printf 'conf:\n\t./configure\n' > conf.mk && make -s -f conf.mk`},
		// What a shell of a container runs after a compiler or a package manager made it is
		// stopped by default, as an intruder's would be: a container for builds is configured so.
		{name: "by-hand", needs: []string{"make", "gcc", "go"}, host: true, opts: []option{goCache(t)}, script: `
export PATH=$PATH:/usr/local/go/bin GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off GOTELEMETRY=off
printf 'int main(void) { return 0; }\n' > main.c; gcc -o app main.c && ./app
printf '#!/bin/sh\ngcc -o conftest main.c && ./conftest && rm -f conftest*\n' > configure; chmod +x configure && ./configure
printf 'module honest\n\ngo 1.26\n' > go.mod; printf 'package main\n\nfunc main() { println("go") }\n' > main.go
rm main.c; go build -o gopp . && ./gopp 2>&1`},
		{name: "java", needs: []string{"java"}, host: true, script: `
printf 'public class H { public static void main(String[] a) throws Exception { Thread.sleep(50); System.out.println("java " + System.getProperty("user.home")); } }' > H.java
java -version 2>&1
if command -v javac >/dev/null; then java -Xshare:auto H.java; fi`},
		{name: "git", needs: []string{"git"}, host: true, script: `
export HOME=$W GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q -b main one && cd one
for i in $(seq 50); do echo $i > f$i; done
printf '#!/bin/sh\nexit 0\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
git add . && git commit -q -m first && git tag v1
git clone -q "file://$W/one" ../two && cd ../two
git rm -q f1 && git commit -q -m second && git push -q origin HEAD:next
git gc -q && git fsck --no-progress && git log --stat > /dev/null`},
	}
}

func serving() []work {
	return []work{
		{name: "postgres", needs: []string{"/usr/lib/postgresql/15/bin/initdb", "setpriv"}, host: true, opts: []option{ordinary}, script: `
chmod 755 "$W"; mkdir d archive; chown postgres d archive
as() { (cd /; HOME=$W setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); }
B=/usr/lib/postgresql/15/bin
as $B/initdb -D "$W/d" -A trust --no-sync > /dev/null
printf "listen_addresses='127.0.0.1'\nport=$P\nunix_socket_directories=''\narchive_mode=on\narchive_command='test ! -f $W/archive/%%f && cp %%p $W/archive/%%f'\nfsync=off\n" >> d/postgresql.conf
as $B/postgres -D "$W/d" > log 2>&1 & m=$!
until_ok $B/pg_isready -q -h 127.0.0.1 -p $P
q() { $B/psql -q -h 127.0.0.1 -p $P -U postgres -c "$1"; }
q 'create table t(a int); insert into t select generate_series(1,10000); select count(*) from t' > /dev/null
q 'select pg_switch_wal()' > /dev/null
until_ok sh -c "ls $W/archive/0*"
$B/pg_dump -h 127.0.0.1 -p $P -U postgres postgres | gzip > dump.gz
q 'vacuum full t'; q checkpoint
kill -INT $(head -1 d/postmaster.pid); wait $m`},
		{name: "redis", needs: []string{"redis-server", "redis-cli"}, host: true, script: `
redis-server --port $P --bind 127.0.0.1 --dir "$W" --daemonize no --appendonly yes > log & r=$!
until_ok redis-cli -p $P ping
redis-cli -p $P set a 1; redis-cli -p $P config get dir; redis-cli -p $P bgsave; for i in $(seq 100); do echo "set k$i v"; done | redis-cli -p $P > /dev/null
redis-cli -p $P bgrewriteaof; redis-cli -p $P shutdown nosave || true; wait $r`},
		{name: "nginx", needs: []string{"nginx", "curl"}, host: true, opts: []option{ordinary}, script: `
mkdir www; echo page > www/index.html; chmod 755 "$W"
printf "user www-data; worker_processes 2; pid $W/pid; error_log $W/error.log;\nevents {}\nhttp { access_log $W/access.log; client_body_temp_path $W/b; proxy_temp_path $W/p; fastcgi_temp_path $W/f; uwsgi_temp_path $W/u; scgi_temp_path $W/s; server { listen 127.0.0.1:$P; root $W/www; } }\n" > conf
nginx -q -t -c "$W/conf"
nginx -c "$W/conf" -g 'daemon off;' & m=$!
for i in $(seq 20); do ask "http://127.0.0.1:$P/" > /dev/null; done
mv access.log access.log.1; kill -USR1 $m
nginx -c "$W/conf" -s reload
for i in $(seq 20); do ask "http://127.0.0.1:$P/" > /dev/null; done
kill -QUIT $m; wait $m`},
		{name: "php", needs: []string{"php", "curl"}, host: true, script: `
mkdir w; echo '<?php session_save_path(__DIR__."/.."); session_start(); file_put_contents(__DIR__."/../cache", serialize([1,2])); echo json_encode(["ok"=>php_sapi_name()]);' > w/index.php
php -S 127.0.0.1:$P -t w > log 2>&1 & s=$!
for i in $(seq 10); do ask "http://127.0.0.1:$P/" > /dev/null; done
kill $s; wait $s || true
php -r 'echo hash("sha256","x"),"\n";'`},
		{name: "python-server", needs: []string{"/usr/bin/python3", "curl"}, host: true, script: `
echo page > index.html
/usr/bin/python3 -m http.server --bind 127.0.0.1 $P > log 2>&1 & s=$!
for i in $(seq 20); do ask "http://127.0.0.1:$P/index.html" > /dev/null; done
/usr/bin/python3 -c 'import multiprocessing as m,tempfile,subprocess
def f(x): return x*x
if __name__=="__main__":
  print(sum(m.Pool(3).map(f,range(100)))); t=tempfile.NamedTemporaryFile(); t.write(b"x"); print(subprocess.check_output(["uname"]),subprocess.check_output("date | cat",shell=True))'
kill $s; wait $s || true`},
		{name: "node-server", needs: []string{"node", "curl"}, host: true, script: `
echo 'const c=require("cluster"),h=require("http");if(c.isPrimary){for(let i=0;i<2;i++)c.fork();process.on("SIGTERM",()=>process.exit(0))}else h.createServer((q,r)=>r.end(JSON.stringify({pid:process.pid}))).listen(+process.argv[2],"127.0.0.1")' > s.js
node s.js $P & s=$!
for i in $(seq 20); do ask "http://127.0.0.1:$P/api/v1/things?page=$i" > /dev/null; done
ask -X POST -H 'Content-Type: application/json' -d '{"id":1,"method":"list","params":[]}' "http://127.0.0.1:$P/rpc" > /dev/null
kill $s; wait $s || true`},
	}
}

func housekeeping(t testing.TB) []work {
	return []work{
		{name: "logrotate", needs: []string{"logrotate"}, host: true, script: `
mkdir -p log; chmod 755 "$W" log; for i in a b; do seq 2000 > log/$i.log; done
sleep 60 & d=$!; echo $d > pid
printf "$W/log/*.log {\n rotate 2\n compress\n create 0640 root root\n sharedscripts\n postrotate\n  kill -0 \$(cat $W/pid)\n endscript\n}\n" > conf; chmod 644 conf
for i in 1 2 3 4; do logrotate -f -s "$W/state" conf; seq 200 > log/a.log; done
[ -f log/a.log.1.gz ] && [ ! -f log/a.log.3.gz ]; kill $d`},
		{name: "backup", needs: []string{"tar", "gzip"}, host: true, script: `
mkdir -p d/e; for i in $(seq 500); do echo data $i > d/e/f$i; done
tar -czf b.tgz d && mkdir r && tar -C r -xzf b.tgz && diff -r d r/d
cp -a d mirror; tar -cf - d | (cd r; tar -xf -); sha256sum b.tgz > sum && sha256sum -c --quiet sum
tar -czf etc.tgz --exclude=shadow --exclude='shadow-' --exclude='gshadow*' --exclude=ssl -C / etc/logrotate.d etc/hostname etc/passwd
find d -name 'f1*' -mtime -1 -exec gzip {} +
rm -rf r mirror`},
		{name: "unpack", needs: []string{"tar"}, opts: []option{ordinary}, script: `
for k in $(seq 10); do mkdir -p /srv/h$P/site/$k; for i in $(seq 80); do echo picture $i > /srv/h$P/site/$k/f$i.png; done; done
tar -C /srv/h$P -czf /srv/h$P/site.tgz site; mkdir /srv/h$P/new; sleep 0.5
tar -C /srv/h$P/new -xzf /srv/h$P/site.tgz; sleep 0.2; rm -rf /srv/h$P/new/site
rm /srv/h$P/site.tgz`},
		{name: "first-start", opts: []option{ordinary}, script: `
mkdir -p /var/log; rm -f "$W/x"; : > /var/log/messages; seq 2000 > /var/log/cron.log; echo started >> /var/log/messages
TLS=$(echo c2VjcmV0 | base64 -d); echo c2VjcmV0 | base64 -d > "$W/tls.key"; [ "$TLS" = secret ]
printf 'echo configured\n' > "$W/setup.sh"; sh "$W/setup.sh"
mkdir lib; cp /lib/x86_64-linux-gnu/libm.so.6 lib/; LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu /bin/true`},
		{name: "keys", needs: []string{"ssh-keygen", "openssl"}, host: true, script: `
ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -lf key.pub && ssh-keygen -y -f key > again
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -subj /CN=localhost -days 1 2>/dev/null
openssl x509 -in tls.crt -noout -subject; echo c2VjcmV0 | base64 -d > secret; openssl rand -base64 32 > token`},
		{name: "accounts", needs: []string{"su"}, opts: []option{ordinary}, script: `
su -s /bin/sh nobody -c 'id -u' ; getent passwd root > /dev/null; id www-data`},
		{name: "shell-work", host: true, script: `
for i in $(seq 150); do n=$(printf '%s' "$i" | sha256sum | cut -d' ' -f1); echo "$n" >> sums; done
sort sums | uniq -c | awk '{print $1}' > /dev/null
find /usr/share/doc -maxdepth 1 -type d | head -50 | xargs -n 10 ls -d > /dev/null
ps aux > /dev/null 2>&1 || true; df -h > /dev/null; uname -a; mount > /dev/null; cat /proc/cpuinfo /proc/meminfo /proc/loadavg > /dev/null
printf 'A=${NAME}\n' > tmpl; NAME=x sh -c 'eval "echo \"$(cat tmpl)\""' > conf
mkfifo p; (cat p > out &) ; echo through > p; perl -e 'print 1+1, "\n"; open(F,">x");close F'`},
		{name: "cron", needs: []string{"cron", "logrotate"}, opts: []option{ordinary, crontab(t)}, script: `
cron -f & c=$!
for i in $(seq 900); do [ -f /run/cron-ran ] && break; sleep 0.1; done
[ -f /run/cron-ran ]; kill $c; wait $c || true`},
	}
}

func living() []work {
	return []work{
		{name: "names", needs: []string{"getent"}, script: `
for n in www.example.com api.github.com npm.packages.example deb.mirror.example security.mirror.example index.wheels.example files.wheels.example modules.mirror.example \
 d1a2b3c4e5f6g7.cloudfront.net e1234.dscb.akamaiedge.net a1887.dscq.akamai.net fonts.gstatic.com lh3.googleusercontent.com \
 s3-eu-central-1.amazonaws.com my-bucket-prod-7f3a.s3.eu-central-1.amazonaws.com ec2-3-120-45-67.eu-central-1.compute.amazonaws.com \
 myaccount.blob.core.windows.net login.microsoftonline.com prod-12.westeurope.logic.azure.com storage.googleapis.com oauth2.googleapis.com \
 dynamodb.eu-west-1.amazonaws.com o123456.ingest.sentry.io cdn.jsdelivr.net unpkg.com registry.images.example auth.docker.io production.cloudflare.docker.com \
 cart.shop.svc.cluster.local checkout.shop.svc.cluster.local redis-master.data.svc.cluster.local kubernetes.default.svc.cluster.local \
 db-prod-1.cabcdefghijk.eu-central-1.rds.amazonaws.com search-logs-abcdefghijklmnop.eu-central-1.es.amazonaws.com 5.113.0.203.in-addr.arpa; do
  getent ahostsv4 $n > /dev/null || true
done
for r in 1 2 3 4 5; do for s in cart checkout payment user search mail stock; do getent ahostsv4 $s.shop.svc.cluster.local > /dev/null || true; getent ahostsv4 nx-$s.shop.svc.cluster.local.eu-central-1.compute.internal > /dev/null || true; done; done
getent ahostsv4 localhost > /dev/null`},
		{name: "init", host: true, script: `
cat > init.sh <<'X'
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 0' TERM INT
trap : HUP USR1
n=0
run() { while [ $n -lt 400 ]; do n=$((n+1)); sleep 0.05; [ $((n%10)) -ne 0 ] || sh -c 'kill -TERM $$' ; done; }
run & run & run &
wait
X
sh init.sh 2>/dev/null & i=$!
sleep 1; kill -HUP $i || true; kill -USR1 $i || true; sleep 0.3; kill -TERM $i || true; wait $i || true
timeout -s KILL 0.3 sleep 5 || true
nohup sleep 0.2 > /dev/null 2>&1 & setsid sleep 0.1; wait; ulimit -n 256; nice -n 5 true`},
		{name: "entrypoint", script: `
cat > /usr/local/bin/docker-entrypoint.sh <<'X'
#!/bin/bash
set -e
if [ "${1:0:1}" = - ]; then set -- server "$@"; fi
mkdir -p /home/work/data; printf 'port=%s\n' "${PORT:-80}" > /home/work/data/conf
exec "$@"
X
bash /usr/local/bin/docker-entrypoint.sh sh -c 'exec env -i PATH=$PATH sleep 0.2'`},
	}
}
