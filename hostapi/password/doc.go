// Package password checks a password against a hash as password files hold it.
//
// The formats are those of the field:
//
//	$2a$, $2b$, $2y$                    bcrypt
//	$argon2id$v=19$m=65536,t=3,p=4$...  argon2id, RFC 9106, in the PHC string format
//	$scrypt$ln=15,r=8,p=1$...           scrypt, RFC 7914, in the PHC string format
//	$6$..., $6$rounds=10000$...         sha512-crypt, as crypt(5) has it
//	$pbkdf2-sha256$29000$...            PBKDF2, RFC 8018, with sha1 ($pbkdf2$), sha256 or sha512; rounds also as i=29000
//	SCRAM-SHA-256$4096:salt$...:...     the keys of SCRAM, RFC 5803, as PostgreSQL writes them
//	{SCRAM-SHA-256}4096,salt,...,...    the same as Dovecot writes them
//
// The password is taken as its octets, as the programs that make hashes do;
// for SCRAM alone it is prepared (RFC 4013), as RFC 7677 has it.
//
// A hash comes from a file or a database that somebody else may write, so its
// parameters are bounded before any work is done: one check takes at most
// [MaxMemory] of memory and about a second or two of one core, whatever the
// string says. How many checks run at once is the business of a [Checker].
//
// The comparison of the results takes the same time wherever they differ. That
// an unknown user takes as long as a known one is the caller's to arrange: check
// against a hash of nobody's password.
package password
