package mail

import (
	"fmt"
	"strings"
	"testing"
)

// The keys of "pencil" (RFC 7677 3), as PostgreSQL writes them.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestScramKeys(t *testing.T) {
	k, err := ParseScram(pencil)
	if err != nil || k.Iterations != 4096 || len(k.Salt) != 16 || k.Text() != pencil {
		t.Fatalf("%v, %q", err, k.Text())
	}
	for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %q", k, k, k)} {
		if strings.ContainsAny(shown, "0x[") {
			t.Errorf("printing shows %s", shown)
		}
	}
	dovecot := "{SCRAM-SHA-256}" + strings.NewReplacer("SCRAM-SHA-256$", "", "$", ",", ":", ",").Replace(pencil)
	if d, err := ParseScram(dovecot); err != nil || d.Text() != pencil {
		t.Errorf("%q: %v", dovecot, err)
	}
	key := "$" + strings.SplitN(pencil, "$", 3)[2]
	for text, want := range map[string]error{
		"": ErrScramFormat,
		"SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==" + key: ErrScramFormat,
		pencil + "x":                                                              ErrScramFormat,
		pencil[:len(pencil)-1]:                                                    ErrScramFormat,
		pencil + "\n":                                                             ErrScramFormat,
		pencil + strings.Repeat(" ", 200):                                         ErrScramFormat,
		strings.Replace(pencil, ":", "$", 1):                                      ErrScramFormat,
		strings.Replace(pencil, "$", ":", 2):                                      ErrScramFormat,
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==":                             ErrScramFormat,
		"SCRAM-SHA-256$4095:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                       ErrScramFormat,
		"SCRAM-SHA-256$04096:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                      ErrScramFormat,
		"SCRAM-SHA-256$+4096:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                      ErrScramFormat,
		"SCRAM-SHA-256$-1:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                         ErrScramFormat,
		"SCRAM-SHA-256$:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                           ErrScramFormat,
		"SCRAM-SHA-256$1000001:W22ZaJ0SNY7soEsUEjb6gQ==" + key:                    ErrScramCost,
		"SCRAM-SHA-256$99999999999999999999:W22ZaJ0SNY7soEsUEjb6gQ==" + key:       ErrScramCost,
		"SCRAM-SHA-256$4096:c2FsdA==" + key:                                       ErrScramFormat, // 4 octets
		"SCRAM-SHA-256$4096:" + strings.Repeat("c2Fs", 22) + key:                  ErrScramFormat, // 66
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gR==" + key:                       ErrScramFormat, // bits behind the end
		"SCRAM-SHA-256$4096:W22ZaJ0S\nNY7soEsUEjb6gQ==" + key:                     ErrScramFormat,
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==" + key[:len(key)-8] + "AAA=": ErrScramFormat,
	} {
		if _, err := ParseScram(text); err != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "tim@ours.test": "tim@ours.test", "a b": "a b",
		"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX", // RFC 4013 3
		"b\u00fccher": "b\u00fccher", "bu\u0308cher": "b\u00fccher", "a\u00a0b": "a b",
		"\x07": "\x07", "\u0627\u0031": "\u0627\u0031", "\U0001f600": "\U0001f600", "\xff\u00ad": "\xff\u00ad", // as they are
	} {
		if got := Prepare(in); got != want || Prepare(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzParseScram(f *testing.F) {
	f.Add(pencil)
	f.Add("{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseScram(text)
		if err != nil {
			return
		}
		if again, err := ParseScram(k.Text()); err != nil || again.Text() != k.Text() || k.Iterations < MinScramIterations || k.Iterations > MaxScramIterations {
			t.Errorf("%q: %q, %v", text, k.Text(), err)
		}
	})
}
