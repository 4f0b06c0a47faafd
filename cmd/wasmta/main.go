// Command wasmta is a mail server whose policy is WebAssembly, and the tools
// that go with it: wasmta serve runs the server, check reads its
// configuration, queue and plugin control it, send and sink speak SMTP.
//
// It only translates: flags and the configuration file into the options of the
// packages that do the work, and their errors into exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/harness"
)

func main() {
	args, plain := sendmailArgs(os.Args)
	ctx, stop := context.Background(), func() {}
	if !plain { // those that only read a message die of a signal, as scripts expect
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	}
	context.AfterFunc(ctx, stop) // a second signal kills
	e := &env{ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr, loadPlugins: loadPlugins, inspect: inspectModule}
	os.Exit(e.run(args))
}

// env is what a command works with.
type env struct {
	ctx      context.Context // ends with SIGINT or SIGTERM
	in       *os.File
	out, err io.Writer

	// loadPlugins loads plugins as the server would, and closes them again.
	loadPlugins func(ctx context.Context, cfg *config.Config, specs []hostapi.Spec, loaded func(i int, hooks []string, err error)) (kind string, err error)
	// inspect reads a module from its binary alone, and with specs tells what
	// they make of it: for machines and for people, and whether it could be
	// loaded.
	inspect func(wasm []byte, specs []hostapi.Spec) (report any, text string, loadable bool, err error)
}

// commands is the command line: one field, one command.
type commands struct {
	Serve      serveCmd      `cmd:"" help:"Run the mail server."`
	Check      checkCmd      `cmd:"" help:"Check the configuration and all that it names."`
	Ready      readyCmd      `cmd:"" help:"Tell by the exit code whether the server takes mail: 0, or 69 or 75."`
	Queue      queueCmd      `cmd:"" help:"Look at and change the queue of the running server."`
	Explain    explainCmd    `cmd:"" help:"Tell what became of a message, or of a session: from connect to the last attempt."`
	Plugin     pluginCmd     `cmd:"" help:"Write, build and try plugins; look at and change those of the running server."`
	Send       sendCmd       `cmd:"" help:"Send one message by SMTP and show the dialogue."`
	Sink       sinkCmd       `cmd:"" help:"Run an SMTP server that accepts everything and shows it."`
	Sendmail   sendmailCmd   `cmd:"" passthrough:"" help:"Take a message as sendmail does; also by that name."`
	Mailq      mailqCmd      `cmd:"" passthrough:"" help:"List the queue as Postfix does; also by that name."`
	Newaliases newaliasesCmd `cmd:"" passthrough:"" help:"Nothing, for scripts; also by that name."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// configFlag is the flag of all commands that need the configuration.
type configFlag struct {
	Config string `placeholder:"FILE" default:"/etc/wasmta/wasmta.toml" help:"Configuration file; default ${default}."`
}

// run executes one command line and returns its exit code.
func (e *env) run(args []string) int {
	parser, err := kong.New(&commands{},
		kong.Name("wasmta"),
		kong.Description("A mail server whose policy is WebAssembly."),
		kong.Writers(e.out, e.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(e.err, "wasmta:", err)
		return exSoftware
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(e.err, "wasmta:", err)
		var wrong *kong.ParseError
		if errors.As(err, &wrong) {
			parser.Stdout = e.err
			_ = wrong.Context.PrintUsage(true)
		}
		return exUsage
	}
	if err = ctx.Run(e); err == nil {
		return exOK
	}
	var said exit
	if errors.As(err, &said) && said.err == nil {
		return said.code
	}
	prefix := "wasmta: "
	var place *config.Error
	var step *harness.Error
	if errors.As(err, &place) || errors.As(err, &step) {
		prefix = "" // file:line:column stands first, for editors
	}
	fmt.Fprintln(e.err, prefix+err.Error())
	return exitCode(err)
}

type serveCmd struct {
	configFlag
	LogFormat string `placeholder:"FORMAT" enum:"line,json," default:"" help:"line or json; default: as the configuration says."`
}
