package smtpd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// try is one guess, as a session makes it.
func try(g *Guard, addr, user string, o outcome, now time.Time) (refusal string) {
	a, refusal, _ := g.admit(netip.MustParseAddr(addr), true, user, now)
	if refusal == "" {
		g.settle(a, o, now)
	}
	return refusal
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestGuardOfAnAddress(t *testing.T) {
	g := NewGuard(GuardOptions{PerAddress: 3, PerUser: -1, Window: time.Minute})
	for i := range 3 {
		if got := try(g, "192.0.2.1", fmt.Sprint("user", i), wrong, noon); got != "" {
			t.Fatalf("guess %d: %s", i, got)
		}
	}
	// The same client in other clothes, and with the right password.
	for _, addr := range []string{"192.0.2.1", "::ffff:192.0.2.1"} {
		if got := try(g, addr, "tim", right, noon.Add(59*time.Second)); got != overAddress {
			t.Errorf("%s: %q", addr, got)
		}
	}
	if got := try(g, "192.0.2.2", "user0", right, noon); got != "" {
		t.Errorf("another address: %s", got)
	}
	if got := try(g, "192.0.2.1", "tim", right, noon.Add(time.Minute)); got != "" {
		t.Errorf("after the window: %s", got)
	}
	for i := range 3 {
		try(g, fmt.Sprintf("2001:db8::%d", i), "x", wrong, noon)
	}
	if got := try(g, "2001:db8::ffff:1%eth0", "x", wrong, noon); got != overAddress {
		t.Errorf("another address of the /64: %q", got)
	}
	if got := try(g, "2001:db8:0:1::1", "x", wrong, noon); got != "" {
		t.Errorf("another /64: %s", got)
	}
	// One that is not counted may fail for ever.
	for range 10 {
		a, refusal, _ := g.admit(netip.MustParseAddr("10.0.0.1"), false, "x", noon)
		if refusal != "" {
			t.Fatal(refusal)
		}
		g.settle(a, wrong, noon)
	}
}

func TestGuardOfAName(t *testing.T) {
	g := NewGuard(GuardOptions{PerAddress: 100, PerUser: 3, Window: time.Minute})
	if got := try(g, "192.0.2.1", "tim", right, noon); got != "" {
		t.Fatal(got)
	}
	for i := range 3 {
		if got := try(g, fmt.Sprintf("198.51.100.%d", i), []string{"tim", "Tim", "TIM"}[i], wrong, noon); got != "" {
			t.Fatalf("guess %d: %s", i, got)
		}
	}
	if got := try(g, "198.51.100.9", "tim", right, noon); got != overUser {
		t.Errorf("the right password, from where it never was: %q", got)
	}
	if got := try(g, "198.51.100.9", "ann", right, noon); got != "" {
		t.Errorf("another name: %s", got)
	}
	// The owner, at home; who guesses there is counted by himself.
	for range 5 {
		if got := try(g, "192.0.2.1", "tim", right, noon); got != "" {
			t.Errorf("the owner is locked out: %s", got)
		}
	}
	for range 3 {
		try(g, "192.0.2.1", "tim", wrong, noon)
	}
	if got := try(g, "192.0.2.1", "tim", wrong, noon); got != overUser {
		t.Errorf("guessing from the owner's address: %q", got)
	}
	if got := try(g, "192.0.2.1", "tim", right, noon.Add(31*24*time.Hour)); got != "" {
		t.Errorf("a month later: %s", got)
	}
	// What could not be decided is no guess.
	for range 10 {
		if got := try(g, "203.0.113.1", "later", unknown, noon); got != "" {
			t.Fatal(got)
		}
	}
	if n := len(g.users.entries); n != 0 {
		t.Errorf("%d names are kept", n)
	}
}

// Many guesses at once are no more than one after the other.
func TestGuardOfManyAtOnce(t *testing.T) {
	g := NewGuard(GuardOptions{PerAddress: 2, PerUser: 3})
	at := netip.MustParseAddr
	var open []attempt
	for i := range 2 {
		a, refusal, _ := g.admit(at("192.0.2.1"), true, fmt.Sprint(i), noon)
		if refusal != "" {
			t.Fatal(refusal)
		}
		open = append(open, a)
	}
	_, refusal, settled := g.admit(at("192.0.2.1"), true, "2", noon)
	if refusal != overAddress || settled == nil {
		t.Fatalf("%q, %v: want it to wait", refusal, settled)
	}
	g.settle(open[0], right, noon)
	<-settled
	a, refusal, _ := g.admit(at("192.0.2.1"), true, "2", noon)
	if refusal != "" {
		t.Fatalf("one is done: %s", refusal)
	}
	g.settle(a, wrong, noon)
	g.settle(open[1], wrong, noon)
	if _, refusal, settled = g.admit(at("192.0.2.1"), true, "3", noon); refusal != overAddress || settled != nil {
		t.Errorf("%q, %v: nothing is left to wait for", refusal, settled)
	}
	if _, refusal, _ = g.admit(at("192.0.2.1"), true, "0", noon); refusal != "" {
		t.Errorf("who succeeded is not held to the address's failures: %s", refusal)
	}
}

// That holds for whoever guesses where the owner has been, too.
func TestGuardOfManyAtOnceFromTheOwnersAddress(t *testing.T) {
	g := NewGuard(GuardOptions{PerUser: 3})
	home := netip.MustParseAddr("192.0.2.1")
	try(g, "192.0.2.1", "tim", right, noon)
	var open []attempt
	for range 3 {
		a, refusal, _ := g.admit(home, true, "tim", noon)
		if refusal != "" {
			t.Fatal(refusal)
		}
		open = append(open, a)
	}
	_, refusal, settled := g.admit(home, true, "tim", noon)
	if refusal != overUser || settled == nil {
		t.Fatalf("%q, %v: want it to wait", refusal, settled)
	}
	g.settle(open[0], right, noon)
	<-settled
	if got := try(g, "192.0.2.1", "tim", right, noon); got != "" {
		t.Errorf("one is done: %s", got)
	}
	g.settle(open[1], wrong, noon)
	g.settle(open[2], unknown, noon)
	if got := try(g, "192.0.2.1", "tim", wrong, noon); got != "" {
		t.Errorf("one has failed: %s", got)
	}
	if got := try(g, "192.0.2.1", "tim", wrong, noon); got != "" {
		t.Errorf("two have failed: %s", got)
	}
	if got := try(g, "192.0.2.1", "tim", right, noon); got != overUser {
		t.Errorf("three have failed: %q", got)
	}
	if got := try(g, "192.0.2.1", "tim", right, noon.Add(time.Hour)); got != "" {
		t.Errorf("after the window: %s", got)
	}
}

func TestGuardIsBounded(t *testing.T) {
	g := NewGuard(GuardOptions{PerUser: 3})
	for range 2 {
		try(g, "192.0.2.1", "victim", wrong, noon)
	}
	for i := range guardEntries + 10 {
		if i == guardEntries/2 {
			try(g, "192.0.2.2", "victim", wrong, noon)
		}
		try(g, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff), fmt.Sprint(i), wrong, noon)
	}
	for name, r := range map[string]*recent{"addresses": &g.addresses, "users": &g.users} {
		if len(r.entries) != guardEntries || r.order.Len() != guardEntries {
			t.Errorf("%s: %d and %d entries", name, len(r.entries), r.order.Len())
		}
	}
	if got := try(g, "192.0.2.3", "victim", right, noon); got != overUser {
		t.Errorf("a name that is guessed at was forgotten: %q", got)
	}
}
