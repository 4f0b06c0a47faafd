package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestANextHopIsSuspendedAndResumed: by the operator, over a restart.
func TestANextHopIsSuspendedAndResumed(t *testing.T) {
	next := freeAddr(t)
	sink := newSink(t, next, nil)
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n[[shape]]\nnext_hops = [\"smtp:%[1]s\"]\nrate = \"1000/1s\"\nconnections = 2\n", next))
	s.start()
	hop := "smtp:" + next
	run := func(want string, args ...string) {
		t.Helper()
		if out, err := s.run(args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v, want %q:\n%s", args, err, want, out)
		}
	}
	run("nothing is sent", "queue", "hops")
	run(hop+": suspended until it is resumed", "queue", "suspend", hop, "--reason", "they move")
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.send("a@src.test", "u@dst.test", message("x", 500)); err != nil {
		t.Fatal(err)
	}
	k.c.Close()
	eventually(t, 20*time.Second, "the message was not deferred", func() bool { return strings.Contains(s.log.String(), "suspended by policy") })
	s.stop()
	s.start()
	run("suspended until it is resumed: they move; rate 1000/1s", "queue", "hops")
	run(`"suspended":true`, "queue", "hops", "--json")
	if n := sink.count(); n != 0 {
		t.Errorf("%d messages were sent there", n)
	}
	run(hop+": resumed, 1 item due now", "queue", "resume", hop)
	eventually(t, 20*time.Second, "the message was not sent when it was resumed", func() bool { return sink.count() == 1 })
	for _, bad := range [][]string{{"suspend", "dst.test"}, {"suspend", hop, "--for", "400d"}, {"resume", "mx"}} {
		if out, err := s.run(append([]string{"queue"}, bad...)...); err == nil {
			t.Errorf("%q was taken: %s", bad, out)
		}
	}
	s.stop()
}
