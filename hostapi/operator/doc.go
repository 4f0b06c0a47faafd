// Package operator is what the operator gives plugins: tables of data, secrets,
// and sinks for their events. It promises:
//
//   - A table is read whole or not at all. One that cannot be read again keeps
//     what it had, and the log says why.
//   - A secret's file is read when the configuration is; its text is never
//     logged.
//   - No plugin waits for a sink. What a sink cannot take is refused and
//     counted, and one sink does not hold up another.
package operator
