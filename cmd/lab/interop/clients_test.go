//go:build linux

package interop_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is one that people send mail with. Its script has $CLEAR, $STARTTLS and $IMPLICIT, ports of a submission
// server, $TO, a forward-path, and the messages $LF and $CRLF.
type program struct {
	name   string
	needs  []string // files
	check  string   // a command that must succeed, else the program is not there
	script string
	raw    bool   // what arrives is what it was given
	with   string // the transmission type; empty: ESMTP
}

var programs = []program{
	{name: "swaks", needs: []string{"/usr/bin/swaks"}, raw: true, with: "ESMTPSA", check: `perl -MNet::SSLeay -e1`,
		script: `swaks --server 127.0.0.1:$STARTTLS --helo client.test --tls --tls-verify-ca --tls-ca-path ca.pem --tls-verify-target mx.test --auth PLAIN --auth-user tim --auth-password secret --from a@src.test --to $TO --data @$LF ||
		 swaks --server 127.0.0.1:$STARTTLS --helo client.test --tls --auth PLAIN --auth-user tim --auth-password secret --from a@src.test --to $TO --data @$LF`},
	{name: "msmtp", needs: []string{"/usr/bin/msmtp"}, raw: true, with: "ESMTPSA",
		script: `msmtp --file=/dev/null --host=127.0.0.1 --port=$STARTTLS --tls=on --tls-trust-file=ca.pem --auth=plain --user=tim --passwordeval='echo secret' \
		 --from=a@src.test --undisclosed-recipients=off --set-from-header=off --set-date-header=off --set-msgid-header=off -- $TO <$LF`},
	{name: "curl", needs: []string{"/usr/bin/curl"}, raw: true, with: "ESMTPSA",
		script: `curl -sS --cacert ca.pem smtps://127.0.0.1:$IMPLICIT/client.test -u tim:secret --mail-from a@src.test --mail-rcpt $TO -T $CRLF`},
	{name: "smtplib", needs: []string{"/usr/bin/python3"}, raw: true, with: "ESMTPSA", script: `python3 -c '
import smtplib, ssl, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), local_hostname="client.test") as s:
    s.starttls(context=ssl.create_default_context(cafile="ca.pem"))
    s.login("tim", "secret")
    s.sendmail("a@src.test", [sys.argv[2]], open(sys.argv[3], "rb").read(), ["BODY=8BITMIME"])
' $STARTTLS $TO $CRLF`},
	{name: "aiosmtplib", needs: []string{"/usr/bin/python3", "/usr/lib/python3/dist-packages/aiosmtplib"}, raw: true, with: "ESMTPSA", script: `python3 -c '
import aiosmtplib, asyncio, sys
asyncio.run(aiosmtplib.send(open(sys.argv[3], "rb").read(), sender="a@src.test", recipients=[sys.argv[2]], hostname="127.0.0.1",
    port=int(sys.argv[1]), use_tls=True, cert_bundle="ca.pem", username="tim", password="secret", local_hostname="client.test"))
' $IMPLICIT $TO $CRLF`},
	{name: "nodemailer", check: `node -e 'require("nodemailer")'`, raw: true, with: "ESMTPSA", script: `NODE_EXTRA_CA_CERTS=ca.pem node -e '
const [port, to, path] = process.argv.slice(1);
require("nodemailer").createTransport({host: "127.0.0.1", port: +port, name: "client.test", requireTLS: true, tls: {servername: "mx.test"}, auth: {user: "tim", pass: "secret"}})
  .sendMail({envelope: {from: "a@src.test", to: [to]}, raw: require("fs").readFileSync(path)})
  .catch(e => { console.error(e); process.exit(1); });
' $STARTTLS $TO $CRLF`},
	{name: "PHPMailer", needs: []string{"/usr/bin/php8.2", "/usr/share/php/libphp-phpmailer/autoload.php"}, with: "ESMTPSA", script: `cat >mail.php <<'E'
<?php
require "/usr/share/php/libphp-phpmailer/autoload.php";
$m = new PHPMailer\PHPMailer\PHPMailer(true);
$m->isSMTP(); $m->Host = "127.0.0.1"; $m->Port = (int)$argv[1]; $m->SMTPSecure = "tls"; $m->SMTPAuth = true;
$m->Username = "tim"; $m->Password = "secret"; $m->Helo = "client.test"; $m->CharSet = "UTF-8";
$m->SMTPOptions = ["ssl" => ["cafile" => "ca.pem"]];
$m->setFrom("a@src.test"); $m->addAddress($argv[2]); $m->Subject = "hello"; $m->Body = "hello from a client\n.\nend\n";
$m->send();
E
php8.2 -d extension=ctype -d extension=iconv mail.php $STARTTLS $TO`},
	{name: "git send-email", needs: []string{"/usr/bin/git", "/usr/lib/git-core/git-send-email"}, with: "ESMTPS", check: `perl -MIO::Socket::SSL -MMIME::Base64 -e1`,
		script: `printf 'From: a@src.test\nSubject: [PATCH] hello\n\nhello from a client\n.\nend\n' >0001.patch
git -c user.name=a -c user.email=a@src.test send-email --quiet --smtp-server=127.0.0.1 --smtp-server-port=$CLEAR --smtp-encryption=tls --smtp-ssl-cert-path=ca.pem --smtp-domain=client.test \
 --from=a@src.test --to=$TO --suppress-cc=all --confirm=never --no-thread --no-chain-reply-to 0001.patch`},
	{name: "mutt", needs: []string{"/usr/bin/mutt"}, with: "ESMTPSA", script: `cat >muttrc <<E
set smtp_url="smtp://tim@127.0.0.1:$STARTTLS" smtp_pass=secret ssl_force_tls=yes ssl_ca_certificates_file="$PWD/ca.pem" ssl_verify_host=yes
set from=a@src.test hostname=client.test use_envelope_from=yes copy=no smtp_authenticators="plain:login"
E
printf 'hello from a client\n.\nend\n' | mutt -n -F muttrc -s hello $TO`},
	{name: "s-nail", needs: []string{"/usr/bin/s-nail"}, with: "ESMTPSA", script: `printf 'hello from a client\n.\nend\n' |
 s-nail -:/ -Sv15-compat -S from=a@src.test -S hostname=client.test -S tls-ca-file=ca.pem -S tls-verify=strict -S tls-ca-no-defaults -S smtp-auth=plain -S smtp-use-starttls \
 -S mta=smtp://tim:secret@localhost:$STARTTLS -S sendwait -S DEAD=/dev/null -s hello $TO`},
	{name: "GNU mail", needs: []string{"/usr/bin/mail.mailutils"}, with: "ESMTPS", script: `printf 'hello from a client\n.x\nend\n' |
 mail.mailutils -n -E "set sendmail=smtp://127.0.0.1:$CLEAR" -a 'From: a@src.test' -s hello $TO`},
	{name: "esmtp", needs: []string{"/usr/bin/esmtp"}, raw: true, script: `printf 'hostname = 127.0.0.1:%s\nstarttls = disabled\n' $CLEAR >esmtprc; chmod 600 esmtprc
esmtp -C esmtprc -f a@src.test $TO <$LF`},
	{name: "sSMTP", needs: []string{"/usr/sbin/ssmtp"}, raw: true, with: "ESMTPSA", script: `printf 'mailhub=127.0.0.1:%s\nUseTLS=YES\nUseSTARTTLS=YES\nAuthUser=tim\nAuthPass=secret\nFromLineOverride=YES\nhostname=client.test\nTLS_CA_File=ca.pem\n' $STARTTLS >ssmtp.conf
ssmtp -Cssmtp.conf -f a@src.test $TO <$LF`},
	{name: "dma", needs: []string{"/usr/sbin/dma"}, raw: true, with: "ESMTPSA", script: `mkdir -p /etc/dma && install -d -g mail -m 2775 /var/spool/dma
printf 'SMARTHOST 127.0.0.1\nPORT %s\nMAILNAME client.test\nSECURETRANSFER\nSTARTTLS\nAUTHPATH /etc/dma/auth.conf\n' $STARTTLS >/etc/dma/dma.conf
echo 'tim|127.0.0.1:secret' >/etc/dma/auth.conf
chgrp -R mail /etc/dma && chgrp mail /usr/sbin/dma && chmod 2755 /usr/sbin/dma
dma -i -f a@src.test $TO <$LF
for i in $(seq 300); do [ "$(ls /var/spool/dma | grep -v flush)" ] || exit 0; sleep 0.1; done; exit 1`},
	{name: "nullmailer", needs: []string{"/usr/sbin/nullmailer-send", "/usr/bin/nullmailer-inject"}, raw: true, with: "ESMTPSA", script: `mkdir -p /etc/nullmailer /var/spool/nullmailer/queue /var/spool/nullmailer/tmp /var/spool/nullmailer/failed
[ -p /var/spool/nullmailer/trigger ] || mkfifo /var/spool/nullmailer/trigger
echo "127.0.0.1 smtp --port=$STARTTLS --starttls --x509cafile=$PWD/ca.pem --auth-login --user=tim --pass=secret" >/etc/nullmailer/remotes
echo client.test >/etc/nullmailer/me
chown -R nullmail: /etc/nullmailer /var/spool/nullmailer && chmod 600 /etc/nullmailer/remotes && chown nullmail: /usr/sbin/nullmailer-queue && chmod 4755 /usr/sbin/nullmailer-queue
setpriv --reuid nullmail --regid nullmail --clear-groups nullmailer-send & 
nullmailer-inject -f a@src.test $TO <$LF
for i in $(seq 300); do [ "$(ls /var/spool/nullmailer/queue)" ] || exit 0; sleep 0.1; done; exit 1`},
	{name: "smtp-source", needs: []string{"/usr/sbin/smtp-source"}, with: "SMTP", script: `printf 'Subject: hello\n\nhello from a client\n.\nend\n' >source.eml
smtp-source -4 -c -s 1 -m 1 -M client.test -f a@src.test -t $TO -F source.eml 127.0.0.1:$CLEAR`},
	{name: "openssl by hand", needs: []string{"/usr/bin/openssl", "/bin/bash"}, raw: true, with: "ESMTPSA", script: `cat >hand.sh <<'E'
coproc openssl s_client -quiet -verify_quiet -verify_return_error -CAfile ca.pem -crlf -connect 127.0.0.1:$IMPLICIT
say() { [ -z "$2" ] || printf '%s\n' "$2" >&${COPROC[1]}; while read -r -t 60 line <&${COPROC[0]}; do case "$line" in "$1 "*) return;; "$1-"*) ;; *) echo "$line"; exit 1;; esac; done; exit 1; }
say 220
say 250 "EHLO client.test"
say 235 "AUTH PLAIN $(printf '\0tim\0secret' | base64)"
say 250 "MAIL FROM:<a@src.test> BODY=8BITMIME"
say 250 "RCPT TO:<$TO>"
say 354 DATA
sed 's/^\./../' "$LF" >&${COPROC[1]}
say 250 .
E
bash hand.sh`},
}

// TestClients hands a message in with each program, mostly with TLS and AUTH, and finds it in a Maildir.
func TestClients(t *testing.T) {
	peers(t)
	dir := directory(t)
	pki(t, dir, "mx.test")
	clear, starttls, implicit := freePort(t), freePort(t), freePort(t)
	module := build(t, "auth.wasm", "../../wasmta/testdata/guest/auth", []string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared", "-ldflags=-s -w")
	write(t, filepath.Join(dir, "users.txt"), "tim $2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n")
	serve(t, dir, "mx", fmt.Sprintf(`
[[listener]]
role = "mx"
address = "127.0.0.1:%d"
tls = "starttls"
[[listener]]
name = "starttls"
role = "submission"
address = "127.0.0.1:%d"
tls = "starttls"
[[listener]]
name = "implicit"
role = "submission"
address = "127.0.0.1:%d"
tls = "implicit"
[[route]]
domains = ["*"]
to = "maildir:%s/box/{user}"
[[plugin]]
name = "users"
module = %q
[plugin.grant]
tables = ["users"]
auth_password = true
[[table]]
name = "users"
file = "users.txt"
`, clear, starttls, implicit, dir, module), clear, starttls)

	l := letter{content: head + "\r\nGr\xc3\xbc\xc3\x9fe\r\n" + strings.Repeat(".\r\n..\r\n...\r\n.x\r\n", 20) + "end\r\n"}
	lf, crlf := filepath.Join(dir, "lf.eml"), filepath.Join(dir, "crlf.eml")
	write(t, crlf, l.content)
	write(t, lf, strings.ReplaceAll(l.content, "\r\n", "\n"))
	ran, worked := 0, 0
	for i, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			ran++
			need(t, p.name, p.needs...)
			work := filepath.Join(dir, fmt.Sprintf("client%d", i))
			if err := os.Mkdir(work, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(work, "ca.pem"), read(t, filepath.Join(dir, "ca.pem")))
			user := fmt.Sprintf("user%d", i)
			run := func(script string) ([]byte, error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := jail(ctx, work, script)
				c.Env = append(c.Env, fmt.Sprintf("CLEAR=%d", clear), fmt.Sprintf("STARTTLS=%d", starttls), fmt.Sprintf("IMPLICIT=%d", implicit),
					"TO="+user+"@box.test", "LF="+lf, "CRLF="+crlf, "PATH=/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"))
				return c.CombinedOutput()
			}
			if p.check != "" {
				if out, err := run(p.check); err != nil {
					t.Skipf("needs a %s that starts; .ci/lab-tools fetches one: %v: %.300s", p.name, err, out)
				}
			}
			if out, err := run(p.script); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			stored := mailbox(t, filepath.Join(dir, "box", user))
			got, received := untraced(stored)
			switch {
			case len(received) == 0:
				t.Fatalf("no Received field:\n%s", stored)
			case p.raw:
				// Who is given lines with LF may end them as it likes, and add an empty one.
				sent := strings.TrimRight(strings.ReplaceAll(l.content, "\r\n", "\n"), "\n")
				if got = strings.TrimRight(got, "\n"); got != sent {
					t.Errorf("the bytes changed:\n got %q\nsent %q", got, sent)
				}
			case !strings.Contains(got, "ubject: ") || !strings.Contains(got, "hello from a client\n.") || !strings.Contains(got, "\nend\n"):
				t.Errorf("the message is not the one that was sent:\n%s", got)
			}
			with := p.with
			if with == "" {
				with = "ESMTP"
			}
			wantWith(t, letter{name: p.name}, received[0], with)
			worked++
		})
	}
	t.Logf("%d of %d programs were here and got their message through", worked, len(programs))
	if _, err := exec.LookPath("apt-get"); err == nil && ran == len(programs) && worked < 12 && !t.Failed() {
		t.Errorf("only %d programs work here, want 12: does .ci/lab-tools not fetch them?", worked)
	}
}
