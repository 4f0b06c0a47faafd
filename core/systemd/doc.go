// Package systemd is what a service says to systemd and gets from it, without
// its library: sockets that are open before we start (sd_listen_fds(3)), so
// that ports below 1024 need no privilege and no connection is refused during a
// restart; readiness, reloads and the watchdog (sd_notify(3)). Where systemd is
// not, nothing happens.
//
// What arrives in the environment is taken out of it, so that no program that
// we start takes it for its own.
package systemd
