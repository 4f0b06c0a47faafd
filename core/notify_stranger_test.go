//go:build unix

package core

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

// NOTIFY=SUCCESS with a reverse-path of somebody else is backscatter, too, for
// whoever wants to send none to strangers.
func TestStrangersHearOfSuccessUnlessNone(t *testing.T) {
	for strangers, want := range map[string]int{"some": 2, "none": 0} {
		t.Run(strangers, func(t *testing.T) {
			peer := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING"}})
			p := picking(t, peer, "local_domains = ['here.test']", "[notify]\nstrangers = '"+strangers+"'", hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				if to := e.Tx.Envelope.Recipients[e.Recipient].ForwardPath; to.Local == "list" { // an alias of two
					first, second := mail.Path{Local: "x", Domain: "here.test"}, mail.Path{Local: "y", Domain: "here.test"}
					if err := e.SetForwardPath(e.Recipient, first); err != nil {
						return hook.Verdict{}, err
					}
					return hook.Verdict{}, e.AddRecipient(second)
				}
				return hook.Verdict{}, nil
			}), hook.Rcpt)
			conn, err := net.Dial("tcp", p.server.Addr("mx").String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for _, line := range []string{"", "EHLO c.test", "MAIL FROM:<victim@else.test>", "RCPT TO:<list@here.test> NOTIFY=SUCCESS", "RCPT TO:<z@here.test> NOTIFY=SUCCESS", "DATA", "Subject: x\r\n\r\n.", "QUIT"} {
				if line != "" {
					fmt.Fprint(conn, line+"\r\n")
				}
				for {
					reply, err := in.ReadString('\n')
					if err != nil || reply[0] != '2' && reply[0] != '3' {
						t.Fatalf("%q: %q, %v", line, reply, err)
					}
					if reply[3] == ' ' {
						break
					}
				}
			}
			p.until(t, "nothing is left in the queue", func() bool { return peer.Count() > 0 && p.server.store.Counts().Items == 0 })
			told := 0
			for _, m := range peer.Messages() {
				if m.From == "<>" {
					told++
					if fmt.Sprint(m.To) != "[<victim@else.test>]" || strings.Contains(string(m.Content), "Action: failed") {
						t.Errorf("to %v:\n%s", m.To, m.Content)
					}
				}
			}
			if told != want {
				t.Errorf("%d notifications to somebody who proved nothing, want %d", told, want)
			}
		})
	}
}
