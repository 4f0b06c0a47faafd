package core

import (
	"context"
	"errors"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/smtpd"
)

// intake makes the queue what smtpd puts messages into, and hands what was
// committed to the scheduler.
type intake struct {
	store    queue.Store
	lifetime time.Duration
	enqueue  func([]queue.Ref)
}

func (in *intake) Begin(ctx context.Context) (smtpd.Draft, error) {
	d, err := in.store.Begin(ctx)
	if err != nil {
		return nil, storageReply(err)
	}
	return &draft{d, in}, nil
}

type draft struct {
	queue.Draft
	in *intake
}

func (d *draft) Write(p []byte) (int, error) {
	n, err := d.Draft.Write(p)
	return n, storageReply(err)
}

func (d *draft) Commit(ctx context.Context, env mail.Envelope, header []byte, hold string) error {
	now := time.Now()
	refs, err := d.Draft.Commit(ctx, env, header, queue.CommitOptions{Due: now, Expire: now.Add(d.in.lifetime), Held: hold != "", Reason: hold})
	if err != nil {
		return storageReply(err)
	}
	if hold == "" {
		d.in.enqueue(refs)
	}
	return nil
}

// storageReply makes a full store what a client understands; any other error
// stays what it is.
func storageReply(err error) error {
	if errors.Is(err, queue.ErrStorage) {
		return mail.ReplyStorage()
	}
	return err
}
