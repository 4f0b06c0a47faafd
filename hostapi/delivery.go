package hostapi

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

func ofDelivery(f func(*hook.Delivery) string) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		if c.event.Delivery == nil {
			return nil, abi.State
		}
		return text(b, f(c.event.Delivery))
	}
}

func numOfDelivery(f func(*hook.Delivery) int64) func(*Call) int64 {
	return func(c *Call) int64 {
		if c.event.Delivery == nil {
			return int64(abi.State)
		}
		return f(c.event.Delivery)
	}
}

// millis is a time as the contract gives it.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return int64(abi.NotFound)
	}
	return max(t.UnixMilli(), 0)
}

// maxMillis is the end of the year 9999.
const maxMillis = 253402300799999

func setTime(set func(*hook.Delivery, time.Time)) func(*Call, int64) error {
	return func(c *Call, v int64) error {
		if v <= 0 || v > maxMillis {
			return abi.Invalid
		}
		return c.event.EditDelivery(func(d *hook.Delivery) error {
			set(d, time.UnixMilli(v))
			return nil
		})
	}
}

// editHops changes every next hop that is chosen; E_STATE if there is none.
func (c *Call) editHops(f func(*mail.NextHop)) error {
	return c.event.EditDelivery(func(d *hook.Delivery) error {
		if len(d.NextHops) == 0 {
			return abi.State
		}
		for i := range d.NextHops {
			f(&d.NextHops[i])
		}
		return nil
	})
}

// firstHop makes a getter of the first next hop.
func firstHop(f func(mail.NextHop) string) func(*Call, []byte) ([]byte, abi.Code) {
	return ofDelivery(func(d *hook.Delivery) string {
		if len(d.NextHops) == 0 {
			return ""
		}
		return f(d.NextHops[0])
	})
}

// maxPoolName bounds the name of an egress pool, as the configuration does.
const maxPoolName = 64

// maxPriority bounds PRIORITY; get_num has no negative numbers.
const maxPriority = 1000

func deliveryFields() []field {
	route, attempt, res := hook.Stages(hook.Route), hook.Stages(hook.Attempt), hook.Stages(hook.Result)
	edit, dsn := route|attempt|res, hook.Stages(hook.DSN)
	return []field{
		{id: abi.QueueID, name: "QUEUE_ID", stages: inDelivery, bytes: ofDelivery(func(d *hook.Delivery) string { return d.ID.String() })},
		{id: abi.Domain, name: "DOMAIN", stages: inDelivery, bytes: ofDelivery(func(d *hook.Delivery) string { return d.Domain })},
		{id: abi.Attempt, name: "ATTEMPT", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return int64(max(d.Attempt, 0)) })},
		{id: abi.FirstQueued, name: "FIRST_QUEUED", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return millis(d.Arrived) })},
		{id: abi.LastCode, name: "LAST_CODE", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return int64(max(d.Last.Reply.Code, 0)) })},
		{id: abi.LastText, name: "LAST_TEXT", stages: inDelivery, bytes: ofDelivery(func(d *hook.Delivery) string { return d.Last.Reply.Text })},
		{id: abi.LastMX, name: "LAST_MX", stages: inDelivery, bytes: ofDelivery(func(d *hook.Delivery) string { return d.Last.RemoteMTA })},
		{id: abi.NextRetry, name: "NEXT_RETRY", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return millis(d.Retry) }),
			setStages: edit, setNum: setTime(func(d *hook.Delivery, t time.Time) { d.Retry = t })},
		{id: abi.Expire, name: "EXPIRE", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return millis(d.Expire) }),
			setStages: edit, setNum: setTime(func(d *hook.Delivery, t time.Time) { d.Expire = t })},
		{id: abi.Priority, name: "PRIORITY", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 { return int64(max(d.Priority, 0)) }),
			setStages: edit, setNum: func(c *Call, v int64) error {
				if v < 0 || v > maxPriority {
					return abi.Invalid
				}
				return c.event.EditDelivery(func(d *hook.Delivery) error {
					d.Priority = int(v)
					return nil
				})
			}},
		{id: abi.Pool, name: "POOL", stages: inDelivery, bytes: firstHop(func(n mail.NextHop) string { return n.Pool }),
			setStages: edit, setBytes: func(c *Call, v []byte) error {
				name := string(v)
				switch {
				case len(name) > maxPoolName || !utf8.ValidString(name) || mail.Printable(name) != name:
					return abi.Invalid
				case name == "": // back to the one that the configuration says
				case c.guest.Pools == nil || !c.guest.Pools(name):
					return abi.NotFound
				}
				return c.editHops(func(n *mail.NextHop) { n.Pool = name })
			}},
		{id: abi.TLSPolicy, name: "TLS_POLICY", stages: inDelivery, num: numOfDelivery(func(d *hook.Delivery) int64 {
			if len(d.NextHops) == 0 {
				return int64(abi.NotFound)
			}
			return int64(d.NextHops[0].TLS)
		}), setStages: route | attempt, setNum: func(c *Call, v int64) error {
			if v < int64(mail.TLSOpportunistic) || v > int64(mail.TLSVerify) {
				return abi.Invalid
			}
			return c.editHops(func(n *mail.NextHop) { n.TLS = mail.TLSPolicy(v) })
		}},
		{id: abi.Transport, name: "TRANSPORT", stages: inDelivery, bytes: firstHop(mail.NextHop.String), setStages: route | res, setBytes: setTransport},
		{id: abi.EhloName, name: "EHLO_NAME", stages: inDelivery, bytes: firstHop(func(n mail.NextHop) string { return n.Helo }),
			setStages: route | attempt, setBytes: func(c *Call, v []byte) error {
				name, err := mail.ParseDomain(string(v))
				if err != nil {
					return abi.Invalid
				}
				return c.editHops(func(n *mail.NextHop) { n.Helo = name })
			}},
		{id: abi.SourceIP, name: "SOURCE_IP", stages: inDelivery, bytes: firstHop(func(n mail.NextHop) string { return n.Source }),
			setStages: route | attempt, setBytes: func(c *Call, v []byte) error {
				a, err := netip.ParseAddr(string(v))
				if err != nil || a.Zone() != "" {
					return abi.Invalid
				}
				return c.editHops(func(n *mail.NextHop) { n.Source = a.String() })
			}},
		{id: abi.SuspendUntil, name: "SUSPEND_UNTIL", stages: res, num: numOfDelivery(func(d *hook.Delivery) int64 { return millis(d.Suspend) }),
			setStages: res, setNum: func(c *Call, v int64) error {
				if v <= 0 || v > c.guest.Now().Add(hook.MaxSuspend).UnixMilli() {
					return abi.Invalid
				}
				return c.event.EditDelivery(func(d *hook.Delivery) error {
					d.Suspend = time.UnixMilli(v)
					return nil
				})
			}},
		{id: abi.DSNAction, name: "DSN_ACTION", stages: dsn, bytes: ofNotice(func(n *hook.Notice, b []byte) []byte { return append(b, n.Action...) })},
		{id: abi.DSNTo, name: "DSN_TO", stages: dsn, bytes: ofNotice(func(n *hook.Notice, b []byte) []byte { return appendPath(b, n.To) }),
			setStages: dsn, setBytes: func(c *Call, v []byte) error {
				p, err := c.mailbox(v, false)
				if err != nil {
					return err
				}
				return c.event.EditNotice(func(n *hook.Notice) error {
					n.To = p
					return nil
				})
			}},
		{id: abi.DSNText, name: "DSN_TEXT", stages: dsn, bytes: ofNotice(func(n *hook.Notice, b []byte) []byte { return append(b, n.Text...) }),
			setStages: dsn, setBytes: func(c *Call, v []byte) error {
				if !utf8.Valid(v) || bytes.ContainsFunc(v, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
					return abi.Invalid
				}
				return c.event.EditNotice(func(n *hook.Notice) error {
					n.Text = string(v)
					return nil
				})
			}},
	}
}

func ofNotice(f func(*hook.Notice, []byte) []byte) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		if c.event.Delivery == nil || c.event.Delivery.Notice == nil {
			return nil, abi.State
		}
		return f(c.event.Delivery.Notice, b), abi.OK
	}
}

// setTransport replaces the next hops by one, written as in the configuration.
func setTransport(c *Call, v []byte) error {
	n, err := mail.ParseNextHop(string(v))
	if err != nil || climbs(n.Host) {
		return abi.Invalid
	}
	return c.event.EditDelivery(func(d *hook.Delivery) error {
		d.NextHops = []mail.NextHop{n}
		return nil
	})
}

// climbs tells whether a path leaves the directory that it begins in: a guest
// may build it from what a client sent.
func climbs(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

func deliveryLen(f func(*hook.Delivery) int) func(*Call) int {
	return func(c *Call) int {
		if c.event.Delivery == nil {
			return int(abi.State)
		}
		return f(c.event.Delivery)
	}
}

// The list ROUTE: the next hops in the order in which they are tried.

var routeList = list{
	stages:  hook.Stages(hook.Route, hook.Attempt, hook.Result),
	texts:   []abi.ListField{abi.RouteHost},
	numbers: []abi.ListField{abi.RoutePort, abi.RoutePref},
	grant:   func(g *Grant) Access { return max(g.Envelope, Read) },
	len:     deliveryLen(func(d *hook.Delivery) int { return len(d.NextHops) }),
	bytes: func(c *Call, i int, f abi.ListField, b []byte) ([]byte, abi.Code) {
		if f != abi.RouteHost {
			return nil, abi.Unsupported
		}
		return append(b, c.event.Delivery.NextHops[i].Host...), abi.OK
	},
	num: func(c *Call, i int, f abi.ListField) int64 {
		n := &c.event.Delivery.NextHops[i]
		switch f {
		case abi.RoutePort:
			switch {
			case n.Port != 0:
				return int64(n.Port)
			case n.Transport == mail.TransportLMTP:
				return 24
			case n.Transport == mail.TransportSMTP || n.Transport == mail.TransportMX:
				return 25
			}
			return int64(abi.NotFound)
		case abi.RoutePref:
			return int64(i)
		}
		return int64(abi.Unsupported)
	},
	count: func(c *Call, _ int) abi.Code {
		if c.event.Stage != hook.Route {
			return abi.State
		}
		return c.countEdit()
	},
	insert: func(c *Call, i int, v []byte) error {
		if len(v) > maxSet {
			return abi.TooLarge
		}
		s := string(v)
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
			s = net.JoinHostPort(s, strconv.Itoa(25))
		}
		n, err := mail.ParseNextHop("smtp:" + s)
		if err != nil {
			return abi.Invalid
		}
		return c.event.EditDelivery(func(d *hook.Delivery) error {
			d.NextHops = append(d.NextHops, mail.NextHop{})
			copy(d.NextHops[i+1:], d.NextHops[i:])
			d.NextHops[i] = n
			return nil
		})
	},
	remove: func(c *Call, i int) error {
		return c.event.EditDelivery(func(d *hook.Delivery) error {
			d.NextHops = append(d.NextHops[:i], d.NextHops[i+1:]...)
			return nil
		})
	},
}

// The list ATTEMPT: past attempts, oldest first.
var attemptList = list{
	stages:  inDelivery,
	texts:   []abi.ListField{abi.AttemptRelay, abi.AttemptText},
	numbers: []abi.ListField{abi.AttemptTime, abi.AttemptCode},
	grant:   func(*Grant) Access { return Read },
	len:     deliveryLen(func(d *hook.Delivery) int { return len(d.History) }),
	bytes: func(c *Call, i int, f abi.ListField, b []byte) ([]byte, abi.Code) {
		a := &c.event.Delivery.History[i]
		switch f {
		case abi.AttemptRelay:
			return text(b, a.Relay)
		case abi.AttemptText:
			return text(b, a.Result.Reply.Text)
		}
		return nil, abi.Unsupported
	},
	num: func(c *Call, i int, f abi.ListField) int64 {
		a := &c.event.Delivery.History[i]
		switch f {
		case abi.AttemptTime:
			return millis(a.At)
		case abi.AttemptCode:
			return int64(max(a.Result.Reply.Code, 0))
		}
		return int64(abi.Unsupported)
	},
}
