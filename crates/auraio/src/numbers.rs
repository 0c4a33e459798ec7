//! The schema of numbers. A number that statistics tell is declared once, with its name, its unit, whether it counts or
//! measures, and a sentence of documentation. From the declaration the macro [`numbers!`] makes the field of the struct, the
//! row of the schema, and the conversion that exporters and the binding walk.

/// What a number means: one row of a schema, such as [`RingStats::SCHEMA`](crate::RingStats::SCHEMA).
///
/// ```
/// use auraio::{NumberKind, RingStats, Unit};
///
/// let submitted = RingStats::SCHEMA.iter().find(|number| number.name == "submitted").expect("rings count submissions");
/// assert_eq!((submitted.unit, submitted.kind), (Unit::Operations, NumberKind::Counter));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Number {
    /// The name of the field.
    pub name: &'static str,
    /// What one of it is.
    pub unit: Unit,
    /// Whether it only grows.
    pub kind: NumberKind,
    /// One or two sentences for those who read the number.
    pub documentation: &'static str,
}

/// Whether a number only grows.
///
/// ```
/// assert_eq!(auraio::NumberKind::Gauge.name(), "gauge");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// It counts since the beginning, and never shrinks.
    Counter,
    /// It is a state at this moment, and may shrink.
    Gauge,
}

impl NumberKind {
    /// Its name in JavaScript.
    ///
    /// ```
    /// assert_eq!(auraio::NumberKind::Counter.name(), "counter");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// What one of a number is.
///
/// ```
/// assert_eq!(auraio::Unit::Bytes.name(), "bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Operations of auraio: reads, opens and others.
    Operations,
    /// Entries of a submission queue.
    Entries,
    /// System calls.
    Calls,
    /// Calls that ask the pool for memory.
    Acquisitions,
    /// Blocks of the pool.
    Blocks,
    /// Bytes.
    Bytes,
    /// Things that happened.
    Events,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// 1 for true and 0 for false.
    Flag,
}

impl Unit {
    /// Its name in JavaScript.
    ///
    /// ```
    /// assert_eq!(auraio::Unit::Microseconds.name(), "microseconds");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Entries => "entries",
            Self::Calls => "calls",
            Self::Acquisitions => "acquisitions",
            Self::Blocks => "blocks",
            Self::Bytes => "bytes",
            Self::Events => "events",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Flag => "flag",
        }
    }
}

/// The types that a number of a schema may have.
pub(crate) trait AsNumber: Copy {
    fn as_number(self) -> f64;
}

impl AsNumber for u32 {
    fn as_number(self) -> f64 {
        f64::from(self)
    }
}

impl AsNumber for u64 {
    /// Exact up to 2^53.
    fn as_number(self) -> f64 {
        self as f64
    }
}

impl AsNumber for f64 {
    fn as_number(self) -> f64 {
        self
    }
}

impl AsNumber for bool {
    fn as_number(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// Declares a struct of statistics, its schema, and the conversion.
///
/// Fields that are no numbers, or that only name the thing measured, stand in the first braces. Numbers stand in the second,
/// each with its documentation, type, kind and unit. With `counters Name;` in front, a struct of that name is made too. It has
/// an atomic for each number, which one thread writes and any thread reads.
macro_rules! numbers {
    (
        $(#[$outer:meta])*
        pub struct $name:ident {
            $( $(#[$meta:meta])* pub $field:ident: $type:ty, )*
        } with {
            $( $(#[doc = $doc:literal])+ $number:ident: $of:ty, $kind:ident, $unit:ident; )+
        }
    ) => {
        $(#[$outer])*
        pub struct $name {
            $( $(#[$meta])* pub $field: $type, )*
            $( $(#[doc = $doc])+ pub $number: $of, )+
        }

        impl $name {
            /// What each number means, in the order of [`numbers`](Self::numbers).
            ///
            /// ```
            #[doc = concat!("for number in auraio::", stringify!($name), "::SCHEMA {")]
            ///     println!("{} ({}, in {}): {}", number.name, number.kind.name(), number.unit.name(), number.documentation);
            /// }
            /// ```
            pub const SCHEMA: &'static [$crate::numbers::Number] = &[$(
                $crate::numbers::Number {
                    name: stringify!($number),
                    unit: $crate::numbers::Unit::$unit,
                    kind: $crate::numbers::NumberKind::$kind,
                    documentation: concat!($($doc),+).trim_ascii(),
                },
            )+];

            /// Every number with its meaning, for exporters.
            ///
            /// ```
            #[doc = concat!("fn export(stats: &auraio::", stringify!($name), ") {")]
            ///     for (number, value) in stats.numbers() {
            ///         println!("{} {value}", number.name);
            ///     }
            /// }
            /// ```
            pub fn numbers(&self) -> impl Iterator<Item = (&'static $crate::numbers::Number, f64)> + use<> {
                let values = [$( $crate::numbers::AsNumber::as_number(self.$number) ),+];
                Self::SCHEMA.iter().zip(values)
            }
        }
    };
    (
        counters $counters:ident;
        $(#[$outer:meta])*
        pub struct $name:ident {
            $( $(#[$meta:meta])* pub $field:ident: $type:ty, )*
        } with {
            $( $(#[doc = $doc:literal])+ $number:ident: u64, $kind:ident, $unit:ident; )+
        }
    ) => {
        $crate::numbers::numbers! {
            $(#[$outer])*
            pub struct $name {
                $( $(#[$meta])* pub $field: $type, )*
            } with {
                $( $(#[doc = $doc])+ $number: u64, $kind, $unit; )+
            }
        }

        #[doc = concat!("The numbers of [`", stringify!($name), "`], as the one thread that may change them publishes them.")]
        #[derive(Default)]
        pub(crate) struct $counters {
            $( pub(crate) $number: ::std::sync::atomic::AtomicU64, )+
        }

        impl $counters {
            /// The numbers as they are now, with the names of the thing that they are of.
            fn read(&self, $($field: $type),*) -> $name {
                $name {
                    $( $field, )*
                    $( $number: self.$number.load(::std::sync::atomic::Ordering::Relaxed), )+
                }
            }
        }
    };
}
pub(crate) use numbers;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares public statistics")]
mod tests {
    use super::*;

    numbers! {
        counters Counted;
        /// For the tests.
        #[derive(Clone, Copy)]
        pub struct Told {
            /// Which.
            pub id: u32,
        } with {
            /// How often
            /// it happened.
            happened: u64, Counter, Events;
        }
    }

    numbers! {
        /// For the tests.
        pub struct Mixed {} with {
            /// A.
            small: u32, Gauge, Entries;
            /// B.
            real: f64, Gauge, Milliseconds;
            /// C.
            is_so: bool, Gauge, Flag;
        }
    }

    #[test]
    fn a_row_has_the_name_of_its_field_and_the_documentation_without_line_breaks() {
        let expected = Number {
            name: "happened",
            unit: Unit::Events,
            kind: NumberKind::Counter,
            documentation: "How often it happened.",
        };
        assert_eq!(Told::SCHEMA, &[expected]);
    }

    #[test]
    fn counters_are_read_into_the_struct() {
        let counted = Counted::default();
        counted.happened.store(5, std::sync::atomic::Ordering::Relaxed);
        let told = counted.read(7);
        assert_eq!((told.id, told.happened), (7, 5));
        assert_eq!(told.numbers().map(|(number, value)| (number.name, value)).collect::<Vec<_>>(), [("happened", 5.0)]);
    }

    #[test]
    fn numbers_of_every_type_are_told_in_order() {
        let mixed = Mixed { small: 3, real: 0.5, is_so: true };
        let told: Vec<_> = mixed.numbers().map(|(number, value)| (number.name, value)).collect();
        assert_eq!(told, [("small", 3.0), ("real", 0.5), ("is_so", 1.0)]);
    }

    #[test]
    fn every_number_of_the_crate_is_documented_by_whole_sentences() {
        let schemas =
            [crate::RingStats::SCHEMA, crate::LaneStats::SCHEMA, crate::ClassStats::SCHEMA, crate::PoolStats::SCHEMA];
        for number in schemas.into_iter().flatten() {
            let text = number.documentation;
            assert!(text.starts_with(char::is_uppercase) && text.ends_with('.'), "{}: {text}", number.name);
            assert!(!text.contains('`') && !text.contains('['), "{}: plain text, for exporters", number.name);
        }
    }
}
