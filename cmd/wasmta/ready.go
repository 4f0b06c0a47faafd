package main

import (
	"context"
	"time"
)

// readyCmd is the health check of a container, and for scripts that wait.
type readyCmd struct {
	configFlag
	Timeout time.Duration `default:"4s" placeholder:"TIME" help:"How long the server may take to answer; default: 4s."`
}

func (c *readyCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
	defer cancel()
	err = server.Ready(ctx)
	if err != nil && ctx.Err() != nil && e.ctx.Err() == nil {
		return exitf(exTempFail, "the server does not answer within %s", c.Timeout)
	}
	return err
}
