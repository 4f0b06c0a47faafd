package core

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
)

// shapes are the limits of next hops.
func shapes(c *config.Config) (qmgr.Shapes, error) {
	var list qmgr.Shapes
	for _, s := range c.Shapes {
		r := qmgr.ShapeRule{Shape: qmgr.Shape{
			Connections: s.Connections, Messages: s.Messages, Recipients: s.Recipients,
			Fixed: s.Adaptive != nil && !*s.Adaptive, Pool: s.Pool, Suspended: s.Suspended,
		}}
		if s.Rate != nil {
			r.Rate = qmgr.Rate{Count: s.Rate.Count, Per: s.Rate.Per.Std()}
		}
		for _, d := range s.Domains {
			r.Domains = append(r.Domains, mail.DomainKey(d))
		}
		for _, to := range s.NextHops {
			if to == "*" {
				r.Others = true
				continue
			}
			hop, err := mail.ParseNextHop(to)
			if err != nil {
				return nil, err
			}
			r.NextHops = append(r.NextHops, hop)
		}
		for _, on := range s.On {
			re, err := regexp.Compile(on.Reply)
			if err != nil {
				return nil, err
			}
			r.On = append(r.On, qmgr.OnReply{Reply: re, Suspend: on.Suspend.Std()})
		}
		list = append(list, r)
	}
	return list, nil
}

// pools are the egress pools by name.
func pools(c *config.Config) map[string][]qmgr.Source {
	m := make(map[string][]qmgr.Source, len(c.Pools))
	for _, p := range c.Pools {
		for _, s := range p.Sources {
			m[p.Name] = append(m[p.Name], qmgr.Source{Name: s.Name, Weight: s.Weight})
		}
	}
	return m
}

// limitsOf tells the delivery agent the limits of a next hop.
func limitsOf(list qmgr.Shapes, c *config.Config) func(mail.NextHop) deliver.Limits {
	return func(hop mail.NextHop) deliver.Limits {
		s := list.For(hop)
		if s.Connections <= 0 {
			s.Connections = c.Limits.DeliveriesPerHop
		}
		return deliver.Limits{Connections: s.Connections, Messages: s.Messages, Recipients: s.Recipients}
	}
}

// nextHops lets the operator see, suspend and resume next hops.
type nextHops struct{ *qmgr.Manager }

func (n nextHops) ListHops() []admin.Hop {
	list := n.Hops()
	out := make([]admin.Hop, len(list))
	for i, h := range list {
		out[i] = admin.Hop{
			NextHop: h.NextHop.String(), Active: h.Active, Parked: h.Parked, Limit: h.Limit, Most: h.Most,
			RateCount: h.Rate.Count, RatePer: h.Rate.Per.Seconds(), RateUntil: h.Waits, Failures: h.Failures,
			Suspended: h.Forever || !h.Suspended.IsZero(), Until: h.Suspended, Reason: h.Why,
		}
		for _, s := range h.Sources {
			out[i].Sources = append(out[i].Sources, admin.HopSource{Name: s.Name, Until: s.Until, Reason: s.Why})
		}
	}
	return out
}

func (n nextHops) ResumeHop(ctx context.Context, hop mail.NextHop) (int, error) {
	items, err := n.Manager.ResumeHop(ctx, hop)
	if errors.Is(err, qmgr.ErrConfigured) {
		err = errors.New("a [[shape]] of the configuration has suspended = true; remove it there and start the server again")
	}
	return items, err
}

func (n nextHops) SuspendHop(hop mail.NextHop, d time.Duration, why string) error {
	return n.Manager.SuspendHop(hop, d, why)
}
