//! The numbers of rings, lanes and the pool as JavaScript's objects. Which numbers there are is declared in the core (`auraio::Number`);
//! here is one conversion for all of them. lib/metrics/schema.ts has the same schema, and a test compares the two.
#![expect(clippy::missing_errors_doc, reason = "the callers are TypeScript's")]

use auraio::{ClassStats, LaneStats, Number, Pool, PoolStats, Port, RingStats, Unit};
use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use crate::port::NativePort;

/// Numbers of the core that JavaScript is not told. Pools for debugging are made in Rust only; JavaScript finds damage by
/// itself (lib/memory/lent.ts).
const NOT_OFFERED: &[&str] = &["damaged"];

#[napi]
impl NativePort {
    /// The numbers of this port's rings.
    #[napi(catch_unwind, ts_return_type = "{ rings: object[] }")]
    pub fn stats<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        // The core is not borrowed while objects are made: a setter on Object.prototype would run JavaScript.
        let rings = self.submitter.core.borrow().port.as_ref().map_or_else(Vec::new, Port::ring_stats);
        let rings = rings.iter().map(|ring| ring_object(env, ring)).collect::<napi::Result<Vec<_>>>()?;
        let mut stats = Object::new(env)?;
        stats.set("rings", rings)?;
        Ok(stats)
    }

    /// Every lane of the process.
    #[napi(catch_unwind, ts_return_type = "object[]")]
    pub fn lanes<'env>(&self, env: &'env Env) -> napi::Result<Vec<Object<'env>>> {
        let lanes = self.submitter.core.borrow().engine().stats().lanes;
        lanes.iter().map(|lane| lane_object(env, lane)).collect()
    }
}

/// The numbers of the process's pool.
#[napi(catch_unwind, ts_return_type = "object")]
pub fn pool_stats(env: &Env) -> napi::Result<Object<'_>> {
    let mut pool = Object::new(env)?;
    set_numbers(&mut pool, Pool::global().stats().numbers())?;
    Ok(pool)
}

/// The schema of the numbers: for rings, lanes, classes and the pool an object with `kind`, `unit` and `documentation` under
/// each number's name.
#[napi(catch_unwind, ts_return_type = "object")]
pub fn stats_schema(env: &Env) -> napi::Result<Object<'_>> {
    let mut schema = Object::new(env)?;
    schema.set("rings", rows(env, RingStats::SCHEMA)?)?;
    schema.set("lanes", rows(env, LaneStats::SCHEMA)?)?;
    schema.set("byClass", rows(env, ClassStats::SCHEMA)?)?;
    schema.set("pool", rows(env, PoolStats::SCHEMA)?)?;
    Ok(schema)
}

fn rows<'env>(env: &'env Env, schema: &[Number]) -> napi::Result<Object<'env>> {
    let mut rows = Object::new(env)?;
    for number in schema.iter().filter(|number| is_offered(number)) {
        let mut row = Object::new(env)?;
        row.set("kind", number.kind.name())?;
        row.set("unit", number.unit.name())?;
        row.set("documentation", number.documentation)?;
        rows.set(camel_case(number.name), row)?;
    }
    Ok(rows)
}

fn ring_object<'env>(env: &'env Env, ring: &RingStats) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("cpu", ring.cpu)?;
    object.set("numaNode", ring.numa_node)?;
    set_numbers(&mut object, ring.numbers())?;
    Ok(object)
}

fn lane_object<'env>(env: &'env Env, lane: &LaneStats) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("id", lane.id.number())?;
    object.set("device", lane.device.as_str())?;
    object.set("mode", lane.mode.name())?;
    object.set("policy", lane.policy)?;
    object.set("phase", lane.phase)?;
    set_numbers(&mut object, lane.numbers())?;
    let classes = lane.by_class.iter().map(|class| {
        let mut object = Object::new(env)?;
        set_numbers(&mut object, class.numbers())?;
        Ok(object)
    });
    object.set("byClass", classes.collect::<napi::Result<Vec<_>>>()?)?;
    Ok(object)
}

/// Sets a property for each number that JavaScript is told.
fn set_numbers(object: &mut Object<'_>, numbers: impl Iterator<Item = (&'static Number, f64)>) -> napi::Result<()> {
    for (number, value) in numbers.filter(|(number, _)| is_offered(number)) {
        let name = camel_case(number.name);
        if number.unit == Unit::Flag {
            object.set(name, value != 0.0)?;
        } else {
            object.set(name, value)?;
        }
    }
    Ok(())
}

fn is_offered(number: &Number) -> bool {
    !NOT_OFFERED.contains(&number.name)
}

/// `in_flight_limit` is `inFlightLimit` in JavaScript.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
