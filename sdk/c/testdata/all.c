/* Asks each helper of mta1.h once; what is not as expected is the reply. */
#define MTA1_SCRATCH 64 /* most of what follows does not fit */
#include "mta1.h"

#define TEXT(x) #x
#define CHECK(cond)                                            \
  if (!(cond)) return mta1_reject(550, "5.0.0", TEXT(cond))

static mta1_strs list;
static mta1_str text, whole;
static int64_t number;
static int yes, no, absent;

MTA1_INIT {
  list = mta1_config_strings("list");
  text = mta1_config("text");
  number = mta1_config_int("number", 0);
  yes = mta1_config_bool("yes", 0);
  no = mta1_config_bool("no", 1);
  absent = mta1_config_bool("absent", 1) && mta1_config_int("absent", 7) == 7 && !mta1_config("absent").ptr &&
           mta1_config_strings("absent").count == 0;
  whole = mta1_config("");
  return 0;
}

MTA1_HOOK(selftest) {
  if (mta1_text(MTA1_F_HELO).ptr) return 1;
  return mta1_is(mta1_text(MTA1_F_PLUGIN), "all") ? 0 : 2;
}

MTA1_HOOK(mail) {
  CHECK(list.count == 4 && mta1_is(list.at[0], "a") && mta1_is(list.at[1], "\"b\\\n") && mta1_is(list.at[3], ""));
  CHECK(mta1_is(list.at[2], "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd"));
  CHECK(mta1_in(list, mta1_s("a")) && !mta1_in(list, mta1_s("b")));
  CHECK(mta1_is(text, "some text") && number == -12 && yes && !no && absent);
  CHECK(mta1_starts(whole, "{\"list\":[") && mta1_ends(whole, "}"));

  CHECK(mta1_eq_fold(mta1_s("Ab["), mta1_s("aB[")) && !mta1_eq_fold(mta1_s("["), mta1_s("{")));
  CHECK(!mta1_starts(mta1_s("ab"), "abc") && !mta1_ends(mta1_s("ab"), "cab"));
  CHECK(mta1_is(mta1_dec(INT64_MIN), "-9223372036854775808") && mta1_is(mta1_dec(0), "0") && mta1_is(mta1_dec(550), "550"));
  CHECK(mta1_enhanced("5.7.1") == (5 << 20 | 7 << 10 | 1) && !mta1_enhanced("5.7") && !mta1_enhanced(NULL) && !mta1_enhanced("5.7.x"));

  CHECK(mta1_is(mta1_text(MTA1_F_MAIL_FROM), "ann@example.com"));
  CHECK(mta1_number(MTA1_F_MAIL_SIZE) == 1234 && mta1_number(MTA1_F_ATTEMPT) == 0);
  CHECK(!mta1_text(MTA1_F_QUEUE_ID).ptr);
  CHECK(mta1_set(MTA1_F_MAIL_FROM, mta1_s("bob@example.com")) == 0);
  CHECK(mta1_set_number(MTA1_F_SIZE_LIMIT, 1) == MTA1_E_STATE);
  CHECK(mta1_set(MTA1_F_MAIL_FROM, mta1_s("<>")) == MTA1_E_INVAL);

  CHECK(mta1_attr_set(MTA1_SCOPE_SESSION, "k", mta1_s("v")) == 0);
  CHECK(mta1_is(mta1_attr(MTA1_SCOPE_SESSION, "k"), "v") && !mta1_attr(MTA1_SCOPE_SESSION, "none").ptr);
  CHECK(mta1_attr_delete(MTA1_SCOPE_SESSION, "k") == 0 && mta1_attr_delete(MTA1_SCOPE_SESSION, "k") == MTA1_E_NOT_FOUND);
  CHECK(mta1_now_ms() > 1600000000000 && mta1_host_feature(MTA1_FEATURE_HEADERS_WRITE) == 1);
  mta1_log(MTA1_LOG_INFO, "as expected");
  return mta1_with(MTA1_CONTINUE, MTA1_DETACH_TX);
}

MTA1_HOOK(rcpt) {
  mta1_str local = mta1_rcpt_text(mta1_rcpt(), MTA1_RCPT_LOCAL);
  if (mta1_is(local, "later")) return mta1_defer(450, "4.7.1", "come again");
  if (mta1_is(local, "drop")) return mta1_drop(421, "4.7.0", "two\nlines");
  if (mta1_is(local, "must")) mta1_must(mta1_rcpt_remove(99));
  mta1_must(mta1_rcpt_set(mta1_rcpt(), mta1_cat(local, mta1_s("@new.test"))));
  mta1_must(mta1_rcpt_add(mta1_s("copy@new.test")));
  return MTA1_CONTINUE;
}

MTA1_HOOK(command) { return mta1_accept(250, "2.0.0", "fine"); }

MTA1_HOOK(message) {
  static char body[8];
  uint32_t sum = 0;
  int32_t got;
  int64_t off = 0;
  while ((got = mta1_body_read(off, body, sizeof body)) > 0) {
    for (int32_t i = 0; i < got; i++) sum += (uint32_t)body[i];
    off += got;
  }
  CHECK(off == mta1_number(MTA1_F_BODY_SIZE) && sum == 20 * 'x');
  CHECK(mta1_rcpt_count() == 1 && mta1_rcpt_remove(0) == 0 && mta1_rcpt_count() == 0);

  /* Each is more than the scratch buffer; all must stay. */
  mta1_str a = mta1_header("A"), b = mta1_header("b"), again = mta1_header("a");
  CHECK(a.len == 40000 && b.len == 90000 && mta1_eq(a, again) && a.ptr[39999] == 'a' && b.ptr[0] == 'b');
  CHECK(!mta1_header("c").ptr && mta1_header_find(0, "c") == MTA1_E_NOT_FOUND);
  CHECK(mta1_header_delete("A") == 0 && mta1_header_delete("A") == 0);
  CHECK(mta1_header_set("B", mta1_s("short")) == 0 && mta1_header_set("D", mta1_s("new")) == 0);
  CHECK(mta1_header_add("Subject", mta1_s("x")) == 0 && mta1_header_add("Subject", mta1_s("y")) == MTA1_E_CONFLICT);
  CHECK(mta1_header_prepend("Z", mta1_dec(-1)) == 0);
  return MTA1_CONTINUE;
}
