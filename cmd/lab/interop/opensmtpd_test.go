//go:build linux

package interop_test

import (
	"fmt"
	"testing"
)

// TestOpenSMTPD relays both ways through OpenSMTPD. It has neither CHUNKING nor SMTPUTF8.
func TestOpenSMTPD(t *testing.T) {
	need(t, "OpenSMTPD", "/usr/sbin/smtpd", "/usr/sbin/smtpctl")
	// The package of Debian 12 offers STARTTLS and fails in every handshake (OpenSMTPD 6.8 with OpenSSL 3): what such
	// servers are sent is opportunistic TLS.
	r := newRelay(t, "opportunistic")
	r.fallsBack = true
	text := "pki peer.test cert \"/etc/ssl/peer.pem\"\npki peer.test key \"/etc/ssl/peer.key\"\nca lab cert \"/etc/ssl/lab.pem\"\n"
	for _, way := range ways {
		listen, relay := "", fmt.Sprintf("host \"smtp+notls://127.0.0.1:%d\"", r.out[way])
		if way == "tls" {
			listen, relay = " tls pki peer.test", fmt.Sprintf("host \"smtp+tls://127.0.0.1:%d\" tls ca lab", r.out[way])
		}
		text += fmt.Sprintf("listen on 127.0.0.1 port %d hostname peer.test%s\naction to-%s relay %s helo peer.test\n", r.in[way], listen, way, relay)
	}
	for _, way := range ways {
		text += fmt.Sprintf("match from any for domain \"%s.test\" action to-%s\n", way, way)
	}
	peer(t, "OpenSMTPD", r.dir, `
install -m 600 "$W/smtpd.conf" /etc/smtpd.conf
install -m 600 "$W/key.pem" /etc/ssl/peer.key
install -m 644 "$W/cert.pem" /etc/ssl/peer.pem
install -m 644 "$W/ca.pem" /etc/ssl/lab.pem
chown root:opensmtpq /usr/sbin/smtpctl && chmod 2755 /usr/sbin/smtpctl
install -d -m 711 /var/spool/smtpd /var/lib/opensmtpd /var/lib/opensmtpd/empty
exec smtpd -d -f /etc/smtpd.conf`, map[string]string{"smtpd.conf": text})
	r.run(t)
	t.Run("utf8", func(t *testing.T) { r.bounces(t, "clear", utf8(), "5.6.7") })
}
