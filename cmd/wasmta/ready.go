package main

// readyCmd is the health check of a container, and for scripts that wait.
type readyCmd struct{ configFlag }

func (c *readyCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	return server.Ready(e.ctx)
}
