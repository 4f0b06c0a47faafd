package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wasmta": main})
}

// TestScripts runs testdata/script: what an operator types, and what follows.
// $ADDR1 to $ADDR3 are free loopback addresses, accept.wasm and reject.wasm
// answer every recipient, broken.wasm is no plugin, asks.wasm wants rights and
// traps.wasm always fails. Commands of our own:
//
//	code N COMMAND...     run it; the exit code must be N
//	waitfor ADDRESS       until somebody listens there
//	cert CERT KEY DAYS    a certificate for mx.example.org that ends in DAYS
//	eventually COMMAND... until its standard output holds the last argument
func TestScripts(t *testing.T) {
	compiled := t.TempDir() // scripts share what they compile
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", compiled)
			var held []net.Listener
			for _, name := range []string{"ADDR1", "ADDR2", "ADDR3"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				held = append(held, l)
				e.Setenv(name, l.Addr().String())
			}
			for _, l := range held {
				l.Close()
			}
			for name, wasm := range map[string][]byte{"accept.wasm": guest(1), "reject.wasm": guest(2 | 550<<16), "broken.wasm": wasmbuild.New().Bytes(), "asks.wasm": asks(), "traps.wasm": traps()} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), wasm, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "waitfor": waitFor, "cert": cert, "eventually": eventually,
		},
	})
}

// guest is a plugin that gives every recipient the same verdict.
func guest(verdict int32) []byte {
	m := wasmbuild.New()
	m.Memory(1, 2)
	m.Func("mta1_init", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(0))
	m.Func("mta1_on_rcpt", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(verdict))
	return m.Bytes()
}

// asks is a plugin with a manifest.
func asks() []byte {
	m := wasmbuild.New()
	m.Import("mta1_kv", "del", wasmbuild.I32+wasmbuild.I32, wasmbuild.I32)
	m.Memory(1, 2)
	m.Func("mta1_init", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(0))
	m.Func("mta1_on_rcpt", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(0))
	m.Custom("mta1.manifest", `{"name":"asks","hooks":["on_rcpt"],"capabilities":{"headers":"write","kv":{"mb":64}},
		"config_schema":{"properties":{"delay":{"type":"integer"}},"additionalProperties":false}}`)
	return m.Bytes()
}

func traps() []byte {
	m := wasmbuild.New()
	m.Memory(1, 2)
	m.Func("mta1_init", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(0))
	m.Func("mta1_on_rcpt", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.Unreachable)
	return m.Bytes()
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var end *exec.ExitError
	if errors.As(err, &end) {
		got = end.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

// patience is for a machine that is busy with other things.
const patience = 2 * time.Minute

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor ADDRESS")
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", args[0])
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("nobody listens: %v", err)
		}
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually COMMAND... TEXT")
	}
	want := args[len(args)-1]
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(args[0], args[1:len(args)-1]...)
		cmd.Dir = ts.MkAbs(".")
		out, err := cmd.Output()
		if err == nil && strings.Contains(string(out), want) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no %q: %v\n%s", want, err, out)
		}
	}
}

func cert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cert CERT KEY DAYS")
	}
	days, err := strconv.Atoi(args[2])
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"},
		NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
