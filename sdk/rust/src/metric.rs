use crate::abi::{code, metric};
use crate::config::Config;
use crate::host;

macro_rules! series {
    ($(#[$doc:meta])* $name:ident, $(#[$method_doc:meta])* $method:ident, $(#[$make_doc:meta])* $make:ident, $kind:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(i32);

        impl $name {
            /// The value before [`init!`](crate::init) has made the series:
            /// samples are lost.
            pub const NONE: $name = $name(code::E_NOT_FOUND);

            $(#[$method_doc])*
            pub fn $method(self, n: i64) {
                // What is wrong with a sample is no reason to fail a message.
                host::metric_add(self.0, n);
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::NONE
            }
        }

        impl Config {
            $(#[$make_doc])*
            pub fn $make(&self, name: &str) -> $name {
                $name(self.series(metric::$kind, name))
            }
        }
    };
}

series!(
    /// Counts what happened. It goes on in new versions of the plugin.
    ///
    /// ```
    /// use wasmta::{hook, init, Counter, Global, Verdict};
    ///
    /// static SEEN: Global<Counter> = Global::new(Counter::NONE);
    ///
    /// init!(|c| {
    ///     SEEN.set(c.counter("seen"));
    ///     Ok(())
    /// });
    ///
    /// hook!(on_mail, |_| {
    ///     SEEN.get().add(1);
    ///     Verdict::CONTINUE
    /// });
    /// # fn main() {}
    /// ```
    Counter,
    /// Adds `n`, which is not below 0.
    add,
    /// Makes a counter. A name has 1 to 64 lower-case letters, digits and `_`;
    /// a plugin has at most 64 series. An error refuses the plugin.
    counter,
    COUNTER
);
series!(
    /// Is what something is now.
    Gauge,
    /// Sets it.
    set,
    /// Makes a gauge, as [`counter`](Config::counter).
    gauge,
    GAUGE
);
series!(
    /// Is how large things are. Its buckets are the powers of two.
    Histogram,
    /// Counts one of the size `n`, which is not below 0.
    observe,
    /// Makes a histogram, as [`counter`](Config::counter).
    histogram,
    HISTOGRAM
);
