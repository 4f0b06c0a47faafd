//go:build linux

package interop_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExim relays both ways through Exim.
func TestExim(t *testing.T) {
	need(t, "Exim", "/usr/sbin/exim4")
	r := newRelay(t, "verify")
	routers, transports := "", ""
	for _, way := range ways {
		routers += fmt.Sprintf("to_%s:\n  driver = manualroute\n  domains = %s.test\n  route_list = * 127.0.0.1::%d\n  self = send\n  transport = %s\n", way, way, r.out[way], way)
		transports += way + ":\n  driver = smtp\n  allow_localhost\n  message_linelength_limit = 100000\n" + map[string]string{
			"clear": "  hosts_avoid_tls = *\n  hosts_try_chunking = *\n",
			"tls":   "  hosts_require_tls = *\n  hosts_try_chunking = *\n  tls_verify_certificates = @W@/ca.pem\n  tls_verify_hosts = *\n  tls_verify_cert_hostnames =\n",
			"bare":  "  hosts_avoid_tls = *\n  hosts_try_chunking =\n  hosts_avoid_pipelining = *\n",
		}[way]
	}
	at := func(way, yes, no string) string {
		return fmt.Sprintf("${if eq{$received_port}{%d}{%s}{%s}}", r.in[way], yes, no)
	}
	peer(t, "Exim", r.dir, `
install -d -o Debian-exim -g Debian-exim /var/spool/exim4 /var/log/exim4
install -m 644 "$W/exim4.conf" /etc/exim4/exim4.conf
install -o Debian-exim -m 600 "$W/key.pem" /etc/exim4/key.pem
touch "$W/exim-mainlog" "$W/exim-rejectlog" "$W/exim-paniclog" && chown Debian-exim "$W"/exim-*
exec exim4 -bdf -q3s`, map[string]string{"exim4.conf": fmt.Sprintf(`primary_hostname = peer.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = %d : %d : %d
spool_directory = /var/spool/exim4
log_file_path = @W@/exim-%%slog
log_selector = +pipelining +tls_peerdn
hosts_treat_as_local =
host_lookup =
rfc1413_query_timeout = 0s
accept_8bitmime = true
keep_environment =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
tls_certificate = @W@/cert.pem
tls_privatekey = /etc/exim4/key.pem
tls_advertise_hosts = %s
chunking_advertise_hosts = %s
pipelining_advertise_hosts = %s
smtputf8_advertise_hosts = *
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
begin acl
accept_all:
  accept
begin routers
%sbegin transports
%sbegin retry
* * F,1h,3s
`, r.in["clear"], r.in["tls"], r.in["bare"], at("tls", "*", ""), at("bare", "", "*"), at("bare", "", "*"), routers, transports)})
	r.run(t)
	t.Run("utf8", func(t *testing.T) {
		submit(t, r.port, utf8(), utf8().to()+"@clear.test")
		r.arrived(t, "clear", utf8())
	})
	// Its log marks CHUNKING with K and PIPELINING with L, with a dot if it offered PIPECONNECT too, which we do not have,
	// and with a minus if it offered PIPELINING in vain.
	log := read(t, filepath.Join(r.dir, "exim-mainlog"))
	for direction, peer := range map[string]string{" <= ": "from us", " => ": "to us"} {
		chunking, pipelining, neither := false, false, false
		for line := range strings.Lines(log) {
			if !strings.Contains(line, direction) {
				continue
			}
			words := strings.Fields(line)
			k, l := slices.Contains(words, "K"), slices.Contains(words, "L") || slices.Contains(words, "L.")
			chunking, pipelining, neither = chunking || k, pipelining || l, neither || !k && !l
			if slices.Contains(words, "L-") || slices.Contains(words, "L.-") {
				t.Errorf("%s: PIPELINING was offered and not used: %s", peer, line)
			}
		}
		if !chunking || !pipelining || !neither {
			t.Errorf("%s: with CHUNKING %v, with PIPELINING %v, without both %v; want all:\n%s", peer, chunking, pipelining, neither, log)
		}
	}
}
