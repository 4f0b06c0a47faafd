package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/maildrop"
)

// The columns of Postfix's postqueue -p for its long queue ids.
const (
	mailqHead   = "%-17s %8s %-19s %s\n"
	mailqLine   = "%-17s %8d %-19s %s\n"
	mailqTime   = "Mon Jan _2 15:04:05"
	mailqReason = 76 // reasons end in this column
)

// mailq lists the queue as Postfix does.
func (e *env) mailq(cfg *config.Config) error {
	server := admin.NewClient(cfg.Admin.Socket, cfg.Admin.HTTP)
	head := func() {
		fmt.Fprintf(e.out, mailqHead, "----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
	}
	var requests, octets int64
	last, reason := "", ""
	for i, err := range server.List(e.ctx, admin.ListOptions{}) {
		if errors.Is(err, admin.ErrNoServer) {
			fmt.Fprintln(e.err, "mailq: the mail server is down; this is what waits in the maildrop")
			return e.mailqDrop(cfg, head)
		}
		if err != nil {
			return err
		}
		if i.ID != last {
			if last == "" {
				head()
			} else {
				fmt.Fprintln(e.out)
			}
			last, reason = i.ID, ""
			requests++
			octets += i.Size
			mark, from := "", visible(i.Sender)
			switch {
			case i.State == "held":
				mark = "!"
			case i.Damaged != "":
				from = "(damaged)"
			case from == "<>":
				from = "MAILER-DAEMON"
			}
			fmt.Fprintf(e.out, mailqLine, i.ID+mark, i.Size, i.Arrived.Local().Format(mailqTime), from)
		}
		for _, r := range i.Recipients {
			why := r.Reply
			if why == "" {
				why = i.Reason
			}
			if why = visible(why); why != reason && why != "" {
				fmt.Fprintf(e.out, "%*s(%s)\n", max(mailqReason-len(why), 0), "", why)
			}
			reason = why
			fmt.Fprintf(e.out, mailqHead, "", "", "", visible(r.Address))
		}
	}
	if requests == 0 {
		fmt.Fprintln(e.out, "Mail queue is empty")
		return nil
	}
	e.mailqEnd(requests, octets)
	return nil
}

func (e *env) mailqEnd(requests, octets int64) {
	plural := "s"
	if requests == 1 {
		plural = ""
	}
	fmt.Fprintf(e.out, "\n-- %d Kbytes in %d Request%s.\n", octets/1024, requests, plural)
}

func (e *env) mailqDrop(cfg *config.Config, head func()) error {
	if cfg.Sendmail.Maildrop == "" {
		return exit{code: exUnavailable}
	}
	list, err := maildrop.List(cfg.Sendmail.Maildrop)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exitf(exNoPerm, "%w; only root and the server's user may list the maildrop", err)
	case err != nil:
		return exit{exUnavailable, err}
	}
	if len(list) == 0 {
		fmt.Fprintln(e.out, "Mail queue is empty")
		return nil
	}
	head()
	var octets int64
	for n, d := range list {
		if n > 0 {
			fmt.Fprintln(e.out)
		}
		octets += d.Size
		fmt.Fprintf(e.out, mailqLine, visible(d.Name), d.Size, d.At.Local().Format(mailqTime), fmt.Sprintf("(maildrop queue, sender UID %d)", d.UID))
	}
	e.mailqEnd(int64(len(list)), octets)
	return nil
}

// flushQueue has the server try what is queued: all, or what stands behind -q as
// I and a queue id, R and a recipient or domain, S and a sender.
func (e *env) flushQueue(cfg *config.Config, what string) error {
	var s admin.Selection
	kind, value := what, ""
	if what != "" {
		kind, value = what[:1], what[1:]
	}
	domain := func(s string) string {
		if !strings.Contains(s, "@") {
			return "@" + s
		}
		return s
	}
	switch {
	case what == "":
		s.All = true
	case kind == "I" && value != "":
		s.IDs = []string{value}
	case kind == "R" && value != "":
		s.Recipient = domain(value)
	case kind == "S" && value != "":
		s.Sender = domain(value)
	default:
		return exitf(exUsage, "-q%s is not served: the server tries by its own schedule ([queue] retry); -q tries everything now", what)
	}
	_, err := admin.NewClient(cfg.Admin.Socket, cfg.Admin.HTTP).Act(e.ctx, "retry", admin.Request{Selection: s})
	return err
}
