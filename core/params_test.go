package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mailtest"
)

// RFC 4865: a message is not handed over before its time, nor are others kept
// waiting by it; one that comes later and is due sooner goes first.
func TestHeldMessagesGoWhenTheyMay(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), nil)
	begin := time.Now()
	s.send("day@src.test HOLDFOR=86400", "b@dst.test")
	s.send("soon@src.test HOLDFOR=2", "b@dst.test")
	s.send("now@src.test HOLDUNTIL=2000-01-01T00:00:00Z", "b@dst.test")
	eventually(t, 30*time.Second, "two messages arrive", func() bool { return peer.Count() == 2 })
	if d := time.Since(begin); d < 2*time.Second {
		t.Errorf("the held message went after %v", d)
	}
	var from []string
	for _, m := range peer.Messages() {
		from = append(from, m.From)
	}
	if got := strings.Join(from, " "); got != "<now@src.test> <soon@src.test>" {
		t.Errorf("they went in the order %q", got)
	}
}
