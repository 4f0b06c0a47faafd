// @ts-check
/// <reference path="./mta.d.ts" />
// Refuses recipients at one domain.

let domain = ""; // takes no mail

/** @param {import("mta").Config} config */
export function init(config) {
  domain = config.string("domain");
}

/**
 * Asked at each RCPT TO. No answer is no opinion: the server's own rules decide.
 * @param {import("mta").Session} session
 */
export function onRcpt(session) {
  if (session.rcpt.domain === domain) {
    return session.reject(550, "5.7.1", "this domain takes no mail");
  }
}
