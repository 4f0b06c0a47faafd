package password

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const long = "a very much longer text to encrypt.  This one even stretches over morethan one line."

// vectors: sha512-crypt from the reference text and from libxcrypt, argon2id
// from the reference implementation, bcrypt from Solar Designer's, the rest
// from Python's hashlib.
var vectors = []struct{ password, hash string }{
	{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
	{"Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
	{"This is just a test", "$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
	{"This is just a test", "$6$rounds=5000$toolongsaltstring$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
	{long, "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"},
	{"we have a short salt string but not a short password", "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"},
	{"a short string", "$6$rounds=123456$asaltof16chars..$BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1"},
	{"the minimum number is still observed", "$6$rounds=10$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."},
	{"", "$6$x$QSmr1Bx2g4O6BzKvdkgOcyU6H91X6I/XBv5pSalMhSPkwdH6Beo3F455xZJg0v//bxVK5F4OE5k1.0xuR26MK0"},
	{"a", "$6$$ek/ucQg0IM8SQLyD2D66mpoW0vAF26eA0/pqoN95V.F0nZh1IFuENNo0OikacRkDBk5frNqziMYMdVVrQ0o.51"},
	{strings.Repeat("x", 200), "$6$abc$9bIqFS3gcEah7ONB5aYjFczb7Fkaut01.W86FsbxH3PnKOS.T6QNYs7qzjm/MziNMzBBXqOaoSNUc4PtFnUj0."},
	{"U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"secret", "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"},
	{"password", "$scrypt$ln=10,r=8,p=2$TmFDbE5hQ2w$PsoMB4+9tYZCW99sQ9LD9gF5YOVH5CZAuB67Dh+al5U"},
	{"password", "$pbkdf2$1000$.//.c2FsdA$heNdRD1mWErDDn1UEODacPGsbic"},
	{"password", "$pbkdf2-sha1$1000$.//.c2FsdA$heNdRD1mWErDDn1UEODacPGsbic"},
	{"password", "$pbkdf2-sha256$1000$.//.c2FsdA$a6ivv.n6xVbqDJWbKTdgJlfrh461YzxjNBbQOhP3pxc"},
	{"password", "$pbkdf2-sha256$1000$+//+c2FsdA==$a6ivv+n6xVbqDJWbKTdgJlfrh461YzxjNBbQOhP3pxc="},
	{"password", "$pbkdf2-sha512$1000$.//.c2FsdA$wC9YAGvyeE/.faICooW8YTckkhBcci5u7kySICq.5bXDiQUtqGHnXrOQdHXTwGevk.HdBa5bqSW.q5DWtiE8qQ"},
	{"password", "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQ$j4Aa14inUtOh7Sg/D7hH54ohymuHNQD4+ccfhepGWAY"},
	{"pencil", "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
	{"pen\u00adcil", "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
	{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
	{"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		if ok, err := Check([]byte(v.hash), []byte(v.password)); err != nil || !ok {
			t.Errorf("%s with %q: %v, %v; want true", v.hash, v.password, ok, err)
		}
		for _, wrong := range []string{v.password + "x", "", "x"} {
			if wrong == v.password || len(wrong) > 72 && v.hash[1] == '2' {
				continue
			}
			if ok, err := Check([]byte(v.hash), []byte(wrong)); err != nil || ok {
				t.Errorf("%s with %q: %v, %v; want false", v.hash, wrong, ok, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	sum := strings.Repeat("A", 43)
	sha := strings.Repeat("A", 86)
	for hash, want := range map[string]error{
		"":                                  ErrFormat,
		"$":                                 ErrFormat,
		"plain":                             ErrFormat,
		"{PLAIN}x":                          ErrFormat,
		"$1$salt$abcdefghijklmnopqrstuv":    ErrFormat,
		"$y$j9T$salt$sum":                   ErrFormat,
		"$6$":                               ErrFormat,
		"$6$salt$short":                     ErrFormat,
		"$6$salt$" + sha[1:] + "!":          ErrFormat,
		"$6$salt$" + sha + "A":              ErrFormat,
		"$6$rounds=x$salt$" + sha:           ErrFormat,
		"$6$rounds=-1$salt$" + sha:          ErrFormat,
		"$6$rounds=1000001$salt$" + sha:     ErrCost,
		"$6$rounds=99999999999$salt$" + sha: ErrFormat,
		"$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrCost,
		"$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrFormat,
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe":  ErrFormat,
		"$2b$05$CC!CCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": ErrFormat,
		"$argon2id$v=19$m=131073,t=1,p=1$c29tZXNhbHQ$" + sum:           ErrCost,
		"$argon2id$v=19$m=131072,t=9,p=1$c29tZXNhbHQ$" + sum:           ErrCost,
		"$argon2id$v=19$m=8,t=2147483647,p=1$c29tZXNhbHQ$" + sum:       ErrCost,
		"$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$" + sum:               ErrFormat,
		"$argon2id$v=19$m=64,t=1,p=0$c29tZXNhbHQ$" + sum:               ErrFormat,
		"$argon2id$v=19$m=64,t=1,p=255$c29tZXNhbHQ$" + sum:             ErrFormat,
		"$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$" + sum:                ErrFormat,
		"$argon2id$v=19$t=1,m=64,p=1$c29tZXNhbHQ$" + sum:               ErrFormat,
		"$argon2id$v=19$m=64,t=1,p=1,x=1$c29tZXNhbHQ$" + sum:           ErrFormat,
		"$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$" + sum:               ErrFormat,
		"$argon2id$v=19$m=64,t=1,p=1$$" + sum:                          ErrFormat,
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAA":                 ErrFormat,
		"$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$" + sum:                ErrFormat,
		"$scrypt$ln=21,r=8,p=1$c29tZXNhbHQ$" + sum:                     ErrCost,
		"$scrypt$ln=63,r=8,p=1$c29tZXNhbHQ$" + sum:                     ErrCost,
		"$scrypt$ln=1,r=2147483647,p=1$c29tZXNhbHQ$" + sum:             ErrCost,
		"$scrypt$ln=10,r=8,p=1024$c29tZXNhbHQ$" + sum:                  ErrCost,
		"$scrypt$ln=0,r=8,p=1$c29tZXNhbHQ$" + sum:                      ErrFormat,
		"$scrypt$ln=10,r=8$c29tZXNhbHQ$" + sum:                         ErrFormat,
		"$pbkdf2-sha256$2000001$c29tZXNhbHQ$" + sum:                    ErrCost,
		"$pbkdf2-sha256$1000001$c29tZXNhbHQ$" + sha:                    ErrCost, // two blocks
		"$pbkdf2-sha256$0$c29tZXNhbHQ$" + sum:                          ErrFormat,
		"$pbkdf2-sha256$01$c29tZXNhbHQ$" + sum:                         ErrFormat,
		"$pbkdf2-md5$1$c29tZXNhbHQ$" + sum:                             ErrFormat,
		"$pbkdf2-sha256$1$c29t\nZXNhbHQ$" + sum:                        ErrFormat,
		"$6$" + strings.Repeat("x", MaxHash):                           ErrFormat,
		"SCRAM-SHA-256$9999999:c2FsdHNhbHQ=$" + sum + "=:" + sum + "=": ErrCost,
		"SCRAM-SHA-256$1:c2FsdHNhbHQ=$" + sum + "=:" + sum + "=":       ErrFormat,
		"SCRAM-SHA-1$4096:c2FsdHNhbHQ=$" + sum + "=:" + sum + "=":      ErrFormat,
	} {
		ok, err := Check([]byte(hash), []byte("x"))
		if ok || !errors.Is(err, want) {
			t.Errorf("%q: %v, %v; want %v", hash, ok, err, want)
		}
		if _, err := parse([]byte(hash), []byte("x")); err == nil && want == ErrCost {
			t.Errorf("%q is worked on before it is refused", hash)
		}
	}
	if _, err := Check([]byte(vectors[0].hash), make([]byte, MaxPassword+1)); !errors.Is(err, ErrLong) {
		t.Errorf("a password of %d octets: %v; want ErrLong", MaxPassword+1, err)
	}
	if ok, err := Check([]byte(vectors[0].hash), []byte("Hello world!\x00")); ok || err != nil {
		t.Errorf("a password with NUL: %v, %v; want false", ok, err)
	}
}

// As everywhere, the 72nd octet is the last that counts in bcrypt.
func TestLongPasswordsOfBcrypt(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("x", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{71: false, 72: true, 73: true, MaxPassword: true} {
		if ok, err := Check(hash, []byte(strings.Repeat("x", n))); err != nil || ok != want {
			t.Errorf("%d octets: %v, %v; want %v", n, ok, err, want)
		}
	}
}

func TestChecksWaitForTheirTurn(t *testing.T) {
	c := NewChecker(1)
	hash, password := []byte(vectors[0].hash), []byte(vectors[0].password)
	if ok, err := c.Check(t.Context(), hash, password); !ok || err != nil {
		t.Fatalf("%v, %v; want true", ok, err)
	}
	c.slots <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Check(ctx, hash, password); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with all places taken: %v; want the deadline", err)
	}
	if _, err := c.Check(ctx, []byte("$6$"), password); !errors.Is(err, ErrFormat) {
		t.Errorf("a broken hash: %v; want to be told without waiting", err)
	}
	<-c.slots
	if ok, err := c.Check(t.Context(), hash, password); !ok || err != nil {
		t.Errorf("%v, %v after a place became free; want true", ok, err)
	}
}

// Whatever the string says, parsing it neither fails nor works.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash, v.password)
	}
	f.Fuzz(func(t *testing.T, hash, password string) {
		work, err := parse([]byte(hash), []byte(password))
		if (work == nil) == (err == nil) {
			t.Errorf("parse gives work: %v and %v", work != nil, err)
		}
	})
}
