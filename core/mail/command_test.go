package mail

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func anyParam(string) bool { return true }

// RFC 4865 5, RFC 2852 4, RFC 6710 3: what the parameters of MAIL mean that
// count from now.
func TestTimesAndPriorityOfMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now() // 2000-01-01T00:00:00Z
		at := func(d time.Duration) time.Time { return now.Add(d) }
		for params, want := range map[string]MailParams{
			"HOLDFOR=3600":                         {HoldUntil: at(time.Hour)},
			"HOLDFOR=0":                            {},
			"HOLDFOR=999999999":                    {HoldUntil: at(999999999 * time.Second)},
			"HOLDUNTIL=2000-01-01T01:00:00Z":       {HoldUntil: at(time.Hour)},
			"holduntil=2000-01-01t01:00:00.5z":     {HoldUntil: at(time.Hour + time.Second/2)},
			"HOLDUNTIL=2000-01-01T03:00:00+02:00":  {HoldUntil: at(time.Hour)},
			"HOLDUNTIL=1999-12-31T23:59:59Z":       {}, // over already
			"MT-PRIORITY=9":                        {Priority: 9},
			"MT-PRIORITY=0":                        {},
			"MT-PRIORITY=-9":                       {Priority: -9},
			"BY=120;R":                             {By: DeliverBy{Time: at(2 * time.Minute), Return: true}},
			"BY=+120;rt":                           {By: DeliverBy{Time: at(2 * time.Minute), Return: true, Trace: true}},
			"BY=-1;N":                              {By: DeliverBy{Time: at(-time.Second)}},
			"BY=0;NT":                              {By: DeliverBy{Time: now, Trace: true}},
			"BY=1;R MT-PRIORITY=-1 HOLDFOR=5":      {By: DeliverBy{Time: at(time.Second), Return: true}, Priority: -1, HoldUntil: at(5 * time.Second)},
			"BODY=BINARYMIME SIZE=3":               {Body: BodyBinaryMIME, Size: 3},
			"HOLDUNTIL=9999-12-31T23:59:59Z":       {HoldUntil: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
			"HOLDUNTIL=2000-01-01T00:00:00.00001Z": {HoldUntil: at(10 * time.Microsecond)},
		} {
			_, m, r := ParseMail("<a@b> "+params, anyParam)
			if r != nil || !m.HoldUntil.Equal(want.HoldUntil) || !m.By.Time.Equal(want.By.Time) {
				t.Errorf("%s: %+v, %v", params, m, r)
				continue
			}
			m.HoldUntil, m.By.Time = want.HoldUntil, want.By.Time // but for their location
			if m != want {
				t.Errorf("%s: %+v, want %+v", params, m, want)
			}
		}
	})
	for _, params := range []string{
		"HOLDFOR", "HOLDFOR=-1", "HOLDFOR=+1", "HOLDFOR=1.5", "HOLDFOR=1000000000", "HOLDFOR=0x10", "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",
		"HOLDUNTIL", "HOLDUNTIL=tomorrow", "HOLDUNTIL=2030-01-01", "HOLDUNTIL=2030-01-01T00:00:00", "HOLDUNTIL=2030-02-30T00:00:00Z",
		"HOLDUNTIL=2030-01-01T00:00:00,5Z", "HOLDUNTIL=1969-12-31T23:59:59Z", "HOLDUNTIL=0001-01-01T00:00:00Z", "HOLDUNTIL=12030-01-01T00:00:00Z",
		"HOLDUNTIL=2030-01-01T00:00:00." + strings.Repeat("0", 100) + "Z", "HOLDFOR=1 HOLDFOR=1",
		"MT-PRIORITY", "MT-PRIORITY=10", "MT-PRIORITY=-10", "MT-PRIORITY=+1", "MT-PRIORITY=-0", "MT-PRIORITY=01", "MT-PRIORITY=-", "MT-PRIORITY=high", "MT-PRIORITY=1.0",
		"BY", "BY=120", "BY=;R", "BY=120;", "BY=120;X", "BY=0;R", "BY=-1;R", "BY=+0;RT", "BY=1000000000;N", "BY=--1;N", "BY=+-1;N", "BY=-+1;N", "BY=120;RTT", "BY=120;TR", "BY=120;T", "BY=1e3;N", "BY=120;R;T",
	} {
		if _, _, r := ParseMail("<a@b> "+params, anyParam); r == nil || r.Code != 501 || r.Enhanced != (Enhanced{5, 5, 4}) {
			t.Errorf("%s: %v, want 501 5.5.4", params, r)
		}
	}
}

// RFC 7293 5.1.
func TestRequireRecipientValidSince(t *testing.T) {
	since := time.Date(2014, 4, 3, 23, 1, 0, 0, time.UTC)
	for params, on := range map[string]bool{"2014-04-03T23:01:00Z": false, "2014-04-03T23:01:00Z;R": false, "2014-04-03T23:01:00Z;C": true, "2014-04-04t01:01:00+02:00;c": true} {
		_, p, r := ParseRcpt("<a@b> RRVS="+params, false, anyParam)
		if r != nil || !p.ValidSince.Equal(since) || p.ValidSinceContinue != on {
			t.Errorf("%s: %+v, %v", params, p, r)
		}
	}
	for _, params := range []string{"", "=", "=;C", "=2014-04-03T23:01:00Z;", "=2014-04-03T23:01:00Z;X", "=2014-04-03T23:01:00Z;CR", "=2014-04-03", "=0001-01-01T00:00:00Z", "=2014-04-03T23:01:00Z;C;C",
		"=9999-12-31T23:59:59-00:01", "=1970-01-01T00:00:00+00:01"} {
		if _, _, r := ParseRcpt("<a@b> RRVS"+params, false, anyParam); r == nil || r.Code != 501 {
			t.Errorf("RRVS%s: %v, want 501", params, r)
		}
	}
}

// RFC 5321 4.1.1.11: each parameter is refused with 555 where it is not offered,
// however it is written, and where it belongs to the other command.
func TestParametersThatAreNotOffered(t *testing.T) {
	ofMail := []string{"SIZE=1", "BODY=8BITMIME", "SMTPUTF8", "RET=FULL", "ENVID=x", "REQUIRETLS", "AUTH=<>", "HOLDFOR=1", "HOLDUNTIL=2030-01-01T00:00:00Z", "MT-PRIORITY=1", "BY=1;R"}
	ofRcpt := []string{"NOTIFY=NEVER", "ORCPT=rfc822;a@b", "RRVS=2014-04-03T23:01:00Z"}
	none := func(string) bool { return false }
	for _, c := range []struct {
		params []string
		mail   bool
		allow  func(string) bool
	}{{ofMail, true, none}, {ofRcpt, false, none}, {ofRcpt, true, anyParam}, {ofMail, false, anyParam},
		{[]string{"BODY=BINARYMIME"}, true, func(k string) bool { return k != "BINARYMIME" }}} {
		for _, param := range c.params {
			var r *Reply
			if c.mail {
				_, _, r = ParseMail("<a@b> "+param, c.allow)
			} else {
				_, _, r = ParseRcpt("<a@b> "+param, true, c.allow)
			}
			if r == nil || r.Code != 555 || r.Enhanced != (Enhanced{5, 5, 4}) {
				t.Errorf("%s, of MAIL %v: %v, want 555 5.5.4", param, c.mail, r)
			}
		}
	}
}
