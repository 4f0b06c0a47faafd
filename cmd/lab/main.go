// Command lab is a laboratory for a mail server: see README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/wasmta/wasmta/cmd/lab/scene"
	"github.com/wasmta/wasmta/core/deliver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	os.Exit(code)
}

// flags are what the user asks for.
type flags struct {
	check   bool
	netns   bool
	wasmta  string
	only    string
	verbose bool
	within  time.Duration
	tamper  func(*deliver.Options) // for tests: a server that does wrong
}

// run returns the exit code: 0, 1 if a row fails, 2 if the laboratory cannot be had.
func run(ctx context.Context, args []string, out, errs io.Writer) (int, error) {
	return runWith(ctx, flags{}, args, out, errs)
}

func runWith(ctx context.Context, f flags, args []string, out, errs io.Writer) (int, error) {
	set := flag.NewFlagSet("lab", flag.ContinueOnError)
	set.SetOutput(errs)
	set.BoolVar(&f.check, "check", false, "send one message to each domain, say what came of it, and end; 1 if a row fails")
	set.BoolVar(&f.netns, "netns", false, "in a network namespace of its own, with the real ports 25, 53 and 443, and the program wasmta (Linux, root)")
	set.StringVar(&f.wasmta, "wasmta", "", "with -netns: the program to start; default: that of this tree, which is built")
	set.StringVar(&f.only, "only", "", "rows whose names begin so")
	set.BoolVar(&f.verbose, "v", false, "show the server's log")
	set.DurationVar(&f.within, "within", 2*time.Minute, "how long -check waits")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil // it has been said
	}
	if set.NArg() > 0 {
		return 2, fmt.Errorf("nothing is known of %q; -h lists the options", set.Arg(0))
	}
	if f.netns && os.Getenv(insideNamespace) == "" {
		return enterNamespace(ctx, f, args, out, errs)
	}
	rows := scene.Rows()
	if f.only != "" {
		var some []scene.Row
		for _, r := range rows {
			if strings.HasPrefix(r.Name, f.only) {
				some = append(some, r)
			}
		}
		if rows = some; len(rows) == 0 {
			return 2, fmt.Errorf("no row begins with %q", f.only)
		}
	}
	l, err := open(rows, f, errs)
	if err != nil {
		return 2, err
	}
	defer l.close()
	if !f.check {
		l.describe(out)
		select {
		case <-ctx.Done():
		case err := <-l.ended:
			return 2, fmt.Errorf("the server ended: %w\n%s", err, l.log.tail())
		}
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	start := time.Now()
	results, err := l.scene.Check(ctx, l.target())
	if err != nil {
		return 2, fmt.Errorf("%w\n%s", err, l.log.tail())
	}
	failed := report(out, results)
	fmt.Fprintf(out, "%d rows, %d failed, %.1f s\n", len(results), failed, time.Since(start).Seconds())
	if failed > 0 {
		if !f.verbose {
			fmt.Fprintln(errs, l.log.tail())
		}
		return 1, nil
	}
	return 0, nil
}

func over(o scene.Over) string { return [...]string{"", ", TLS", ", clear text"}[o] }

// wish is a row's outcome for the table.
func wish(w scene.Want) string {
	s := w.Status
	if w.Status == scene.Sent {
		if w.By > 0 {
			s += fmt.Sprintf(", mx%d", w.By)
		}
		return s + over(w.TLS)
	}
	return s + " " + w.Reply
}

// describe says what is where.
func (l *lab) describe(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tRFC\tWHAT\tMUST BE")
	for _, r := range l.scene.Rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Domain(), r.RFC, r.What, wish(r.Want))
		if r.Outage != nil {
			fmt.Fprintf(w, "\t\t... afterwards\t%s\n", wish(*r.Outage))
		}
	}
	w.Flush()
	fmt.Fprintf(out, "\nDNS (AD for signed zones, SERVFAIL for bogus names; scripted, not signed): %s\nMXs at port %d, policy hosts at port %d, authority: %s\n"+
		"wasmta takes mail for any of them at %s; bounces to USER@home.%s are in %s\nlog: %s\n",
		l.scene.DNS, l.scene.MXPort, l.scene.PolicyPort, l.path("ca.pem"), l.addr, scene.Zone, l.path("home"), l.path("log"))
	if os.Getenv(insideNamespace) != "" {
		fmt.Fprintf(out, "this is a network namespace: nsenter -t %d -n swaks --server %s --to you@plain.%s\n", os.Getpid(), l.addr, scene.Zone)
	} else {
		fmt.Fprintf(out, "try: swaks --server %s --from me@home.%s --to you@plain.%s\n", l.addr, scene.Zone, scene.Zone)
	}
	fmt.Fprintln(out, "Ctrl-C ends it.")
}

// report prints a line for each result and returns how many failed.
func report(out io.Writer, results []scene.Result) (failed int) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\tDOMAIN\tRFC\tMUST BE\tWAS\tREPLY")
	for _, r := range results {
		verdict, name := "pass", r.Row.Name
		if r.Outage {
			name += " (outage)"
		}
		if !r.Passed() {
			verdict = "FAIL"
			failed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.100s\n", verdict, name, r.Row.RFC, wish(r.Want), r.Got, r.Reply)
		for _, f := range r.Faults {
			fmt.Fprintf(w, "\t\t\t%s\n", f)
		}
	}
	w.Flush()
	return failed
}
