package main

import (
	"context"
	"log/slog"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEmbedded(t *testing.T) {
	dir := t.TempDir()
	s, err := newServer(dir, 0, slog.NewTextHandler(t.Output(), nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	addr := s.Addr("mx").String()
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	text := []byte("From: a@example.com\r\nSubject: hi\r\n\r\ntext\r\n")
	err = smtp.SendMail(addr, nil, "a@example.com", []string{"nobody@embedded.test"}, text)
	if err == nil || !strings.Contains(err.Error(), "5.1.1") {
		t.Errorf("mail to nobody: %v, want the policy's reply", err)
	}
	err = smtp.SendMail(addr, nil, "a@example.com", []string{"x@elsewhere.test"}, text)
	if err == nil || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("mail to elsewhere: %v, want no relaying", err)
	}
	if err := smtp.SendMail(addr, nil, "a@example.com", []string{"ann@embedded.test"}, text); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if files, _ := filepath.Glob(filepath.Join(dir, "mail", "ann", "new", "*")); len(files) == 1 {
			got, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(got), "X-Embedded: seen\n") && !strings.Contains(string(got), "X-Embedded: seen\r\n") {
				t.Errorf("the policy's field is missing:\n%s", got)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the message did not arrive within 10 s")
}
