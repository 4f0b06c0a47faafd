package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
)

// hopsCmds are the commands about next hops.
type hopsCmds struct {
	Hops    hopsCmd    `cmd:"" help:"List next hops that are in use or in trouble."`
	Suspend suspendCmd `cmd:"" help:"Send nothing to a next hop."`
	Resume  resumeCmd  `cmd:"" help:"End every suspension of a next hop and try what waits for it."`
}

type hopsCmd struct {
	configFlag
	JSON bool `name:"json" help:"Print one JSON object per line."`
}

type suspendCmd struct {
	configFlag
	NextHop string          `arg:"" name:"nexthop" help:"mx:DOMAIN, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH."`
	For     config.Duration `placeholder:"TIME" help:"For so long: 30m, 1h, 2d. Default: until it is resumed."`
	Reason  string          `placeholder:"TEXT" help:"Why; shown by queue hops."`
	JSON    bool            `name:"json" help:"Print one JSON object."`
}

type resumeCmd struct {
	configFlag
	NextHop string `arg:"" name:"nexthop" help:"As queue hops shows it."`
	JSON    bool   `name:"json" help:"Print one JSON object."`
}

func (c *hopsCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	n := 0
	for h, err := range server.Hops(e.ctx) {
		if err != nil {
			return err
		}
		if n++; c.JSON {
			if err := printJSON(e.out, h); err != nil {
				return err
			}
			continue
		}
		if n == 1 {
			fmt.Fprintf(e.out, "%-32s %6s %6s %9s  %s\n", "Next hop", "Active", "Parked", "Limit", "State")
		}
		fmt.Fprintf(e.out, "%-32s %6d %6d %9s  %s\n", visible(h.NextHop), h.Active, h.Parked, fmt.Sprintf("%d of %d", h.Limit, h.Most), visible(hopState(h)))
		for _, s := range h.Sources {
			fmt.Fprintf(e.out, "%34s source %s suspended until %s: %s\n", "", visible(s.Name), s.Until.Local().Format(timeLayout), visible(s.Reason))
		}
	}
	if n == 0 && !c.JSON {
		fmt.Fprintln(e.out, "nothing is sent, and no next hop is in trouble")
	}
	return nil
}

// hopState is what there is to say of a next hop.
func hopState(h admin.Hop) string {
	var notes []string
	switch {
	case h.Suspended && h.Until.IsZero():
		notes = append(notes, "suspended until it is resumed: "+h.Reason)
	case h.Suspended:
		notes = append(notes, "suspended until "+h.Until.Local().Format(timeLayout)+": "+h.Reason)
	case h.Failures > 0:
		notes = append(notes, fmt.Sprintf("not reached %s in a row", count(h.Failures, "time")))
	}
	if h.RateCount > 0 {
		rate := fmt.Sprintf("rate %d/%v", h.RateCount, time.Duration(h.RatePer*float64(time.Second)))
		if !h.RateUntil.IsZero() {
			rate += ", used up"
		}
		notes = append(notes, rate)
	}
	return strings.Join(notes, "; ")
}

func (c *suspendCmd) Run(e *env) error {
	if _, err := admin.ParseHop(c.NextHop); err != nil {
		return exit{exUsage, err}
	}
	if c.For < 0 || c.For.Std() > admin.MaxSuspend {
		return exitf(exUsage, "queue suspend: --for %v: write a time of up to %.0f days", c.For.Std(), admin.MaxSuspend.Hours()/24)
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	res, err := server.SuspendHop(e.ctx, c.NextHop, c.For.Std(), c.Reason)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, res)
	}
	end := "until it is resumed"
	if c.For > 0 {
		end = "until " + time.Now().Add(c.For.Std()).Format(timeLayout)
	}
	fmt.Fprintf(e.out, "%s: suspended %s\n", visible(res.NextHop), end)
	return nil
}

func (c *resumeCmd) Run(e *env) error {
	if _, err := admin.ParseHop(c.NextHop); err != nil {
		return exit{exUsage, err}
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	res, err := server.ResumeHop(e.ctx, c.NextHop)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, res)
	}
	fmt.Fprintf(e.out, "%s: resumed, %s due now\n", visible(res.NextHop), count(res.Items, "item"))
	return nil
}
