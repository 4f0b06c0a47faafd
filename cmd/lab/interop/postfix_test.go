//go:build linux

package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPostfix relays both ways through Postfix.
func TestPostfix(t *testing.T) {
	need(t, "Postfix", "/usr/sbin/postfix", "/usr/lib/postfix/sbin/master")
	r := newRelay(t, "verify")
	transports, services := "", ""
	for _, way := range ways {
		transports += fmt.Sprintf(" {%s.test = to-%s:[127.0.0.1]:%d}", way, way, r.out[way])
		in, out := map[string]string{
			"clear": "",
			"tls":   " -o smtpd_tls_security_level=encrypt",
			"bare":  " -o smtpd_discard_ehlo_keywords=pipelining,chunking",
		}[way], map[string]string{
			"clear": " -o smtp_tls_security_level=none",
			"tls":   " -o smtp_tls_security_level=secure -o smtp_tls_secure_cert_match=in.test",
			"bare":  " -o smtp_tls_security_level=none -o smtp_discard_ehlo_keywords=pipelining,chunking",
		}[way]
		services += fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd%s\nto-%s unix - - n - - smtp%s\n", r.in[way], in, way, out)
	}
	out := peer(t, "Postfix", r.dir, `
install -d /var/spool/postfix /var/lib/postfix && chown postfix /var/lib/postfix
cp "$W/main.cf" "$W/master.cf" /etc/postfix/
[ -d /var/spool/postfix/public ] || postfix set-permissions 2>/dev/null || :
exec postfix start-fg`, map[string]string{
		"main.cf": `compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = peer.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
relay_domains = clear.test, tls.test, bare.test
smtpd_relay_restrictions = permit_mynetworks, reject
transport_maps = inline:{` + transports + ` }
smtputf8_enable = yes
smtp_line_length_limit = 0
smtpd_peername_lookup = no
smtp_host_lookup = native
smtpd_tls_cert_file = @W@/cert.pem
smtpd_tls_key_file = @W@/key.pem
smtpd_tls_security_level = none
smtpd_tls_received_header = yes
smtp_tls_CAfile = @W@/ca.pem
queue_run_delay = 3s
minimal_backoff_time = 3s
maximal_backoff_time = 6s
import_environment =
`,
		"master.cf": services + `cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
pickup unix n - n 60 1 pickup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`,
	})
	r.run(t)
	t.Run("utf8", func(t *testing.T) {
		submit(t, r.port, utf8(), utf8().to()+"@clear.test")
		r.arrived(t, "clear", utf8())
	})
	// Its log counts the commands of each session: it got BDAT from us, and where it offers none, DATA.
	eventually(t, "no session with BDAT and one with DATA", func() bool {
		s := out.String()
		return strings.Contains(s, " bdat=1 ") && strings.Contains(s, " data=1 ")
	})
	if _, err := os.Stat(filepath.Join(r.dir, ".jail", "etc")); err == nil {
		t.Error("the namespace is not its own")
	}
}
