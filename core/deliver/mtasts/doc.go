// Package mtasts finds and keeps the policies of SMTP MTA Strict Transport Security (RFC 8461): what a domain says about
// the names of its mail exchangers and about TLS with them.
//
// What it promises:
//
//   - [Cache.Policy] never waits for more than one look-up and one fetch, bounded by [FetchTime], and equal questions at
//     the same time are one. Where a policy is in force it waits five seconds for a newer one, and then gives what it has.
//   - A policy that was fetched is in force for its max_age, whatever the DNS or the policy host say or do not say
//     meanwhile; only a policy fetched later replaces it. It outlives a restart.
//   - A policy is fetched again long before it expires, though its id is the same: a day after it was, or when half of its
//     time is over ([Cache.Run] does so for domains that get no mail, too). Who keeps the policy host away for less than
//     that never gets a moment without a policy (RFC 8461 10.2).
//   - What a policy host sends is bounded by [MaxPolicy], comes over HTTPS from mta-sts.DOMAIN with a certificate for that
//     name, and no redirect is followed. A policy that cannot be understood whole is none.
//   - A failure to fetch is not asked about again for [RetryTime].
//
// The package looks nothing else up and connects to no mail exchanger: package deliver asks [Policy.Match].
package mtasts
