package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
)

// ruleCmd is queue rule: what shall be held of the mail that comes in.
type ruleCmd struct {
	Add    ruleAddCmd    `cmd:"" help:"Hold mail that comes in and matches, until somebody releases it."`
	List   ruleListCmd   `cmd:"" help:"List the hold rules."`
	Remove ruleRemoveCmd `cmd:"" help:"End a hold rule; what it held stays held."`
}

type ruleAddCmd struct {
	configFlag
	Domain    string          `placeholder:"D" help:"Mail for recipients in this domain; their items only."`
	Recipient string          `placeholder:"R" help:"Mail for this forward-path, or with @DOMAIN for the domain; the items with them only."`
	Sender    string          `placeholder:"S" help:"Mail of this reverse-path, with @DOMAIN of all in the domain; <> is the null one."`
	Listener  string          `placeholder:"NAME" help:"Mail that this listener takes."`
	Client    string          `placeholder:"NET" help:"Mail from this address or network."`
	Mark      string          `placeholder:"PLUGIN/KEY[=VALUE]" help:"Mail with this attribute, which a plugin set."`
	Reason    string          `required:"" placeholder:"TEXT" help:"Why; shown with what is held."`
	For       config.Duration `placeholder:"TIME" help:"End the rule after this time: 1h, 2d. Default: when it is removed."`
	Existing  bool            `help:"Hold what is queued already too."`
	JSON      bool            `name:"json" help:"Print one JSON object."`
}

func (c *ruleAddCmd) Run(e *env) error {
	r := admin.HoldRule{Domain: c.Domain, To: c.Recipient, Sender: c.Sender, Listener: c.Listener, Client: c.Client, Mark: c.Mark, Reason: c.Reason}
	if r.Selection().Empty() {
		return exitf(exUsage, "queue rule add: nothing is selected; give --sender, --recipient, --domain, --listener, --client or --mark")
	}
	if c.For > 0 {
		r.Until = time.Now().Add(c.For.Std())
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	if r, err = server.AddRule(e.ctx, r); err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.out, r)
	} else {
		_, err = fmt.Fprintf(e.out, "hold rule %d is in force\n", r.ID)
	}
	if err != nil {
		return exit{exIOErr, err}
	}
	if !c.Existing {
		return nil
	}
	hold := holdCmd{Reason: fmt.Sprintf("hold rule %d: %s", r.ID, c.Reason)}
	hold.configFlag, hold.JSON = c.configFlag, c.JSON
	hold.Domain, hold.Recipient, hold.Sender, hold.Listener, hold.Client, hold.Mark = c.Domain, c.Recipient, c.Sender, c.Listener, c.Client, c.Mark
	return hold.Run(e)
}

type ruleListCmd struct {
	configFlag
	JSON bool `name:"json" help:"Print one JSON object per line."`
}

func (c *ruleListCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	n := 0
	for r, err := range server.Rules(e.ctx) {
		if err != nil {
			return err
		}
		n++
		if c.JSON {
			if err := printJSON(e.out, r); err != nil {
				return exit{exIOErr, err}
			}
			continue
		}
		var what []string
		for _, p := range [][2]string{{"sender", r.Sender}, {"recipient", r.To}, {"domain", r.Domain}, {"listener", r.Listener}, {"client", r.Client}, {"mark", r.Mark}} {
			if p[1] != "" {
				what = append(what, p[0]+" "+p[1])
			}
		}
		until := ""
		if !r.Until.IsZero() {
			until = " until " + r.Until.Local().Format(timeLayout)
		}
		fmt.Fprintf(e.out, "%4d  %s%s: %s\n", r.ID, visible(strings.Join(what, ", ")), until, visible(r.Reason))
	}
	if n == 0 && !c.JSON {
		fmt.Fprintln(e.out, "there are no hold rules")
	}
	return nil
}

type ruleRemoveCmd struct {
	configFlag
	ID int64 `arg:"" help:"Number of the rule."`
}

func (c *ruleRemoveCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	if err := server.RemoveRule(e.ctx, c.ID); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "hold rule %d is removed; wasmta queue release --reply \"hold rule %d:\" releases what it held\n", c.ID, c.ID)
	return nil
}
