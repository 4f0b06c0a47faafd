//go:build linux

package interop_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestDovecot delivers by LMTP, over TCP and a unix socket.
func TestDovecot(t *testing.T) {
	need(t, "Dovecot", "/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp")
	dir, port, lmtp := directory(t), freePort(t), freePort(t)
	pki(t, dir, "mx.test")
	peer(t, "Dovecot", dir, `
install -d -o vmail -m 755 "$W/box" && install -d -m 755 "$W/socket"
exec dovecot -F -c "$W/dovecot.conf"`, map[string]string{"dovecot.conf": fmt.Sprintf(`protocols = lmtp
base_dir = /run/dovecot
log_path = /dev/stderr
ssl = no
first_valid_uid = 1
mail_location = maildir:@W@/box/%%n
hostname = dovecot.test
postmaster_address = postmaster@dovecot.test
auth_username_format = %%Ln
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=@W@/box/%%n allow_all_users=yes
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %d
  }
  unix_listener @W@/socket/lmtp {
    mode = 0666
  }
}
protocol lmtp {
  lmtp_client_workarounds =
}
`, lmtp)})
	greets(t, "Dovecot", lmtp)
	serve(t, dir, "mx", fmt.Sprintf(`
[[listener]]
role = "mx"
address = "127.0.0.1:%d"
[queue]
retry = ["2s"]
[[route]]
domains = ["tcp.test"]
to = "lmtp:127.0.0.1:%d"
[[route]]
domains = ["unix.test"]
to = "lmtp:unix:%s/socket/lmtp"
`, port, lmtp, dir), port)
	for _, way := range []string{"tcp", "unix"} {
		t.Run(way, func(t *testing.T) {
			list := append(letters(), large())
			for _, l := range list {
				submit(t, port, l, way+"-"+l.to()+"@"+way+".test")
			}
			for _, l := range list {
				received := same(t, l, mailbox(t, filepath.Join(dir, "box", way+"-"+l.to())))
				if len(received) != 2 {
					t.Fatalf("%s: %d servers were on the way, want 2:\n%s", l.name, len(received), strings.Join(received, ""))
				}
				wantWith(t, l, received[0], "LMTP")
			}
		})
	}
}
