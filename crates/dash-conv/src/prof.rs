
#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used)]
use std::{collections::BTreeMap, sync::Mutex, time::Instant};
static M: Mutex<BTreeMap<String, (f64, u64)>> = Mutex::new(BTreeMap::new());
pub struct G(String, Instant);
pub fn g(s: impl Into<String>) -> G { G(s.into(), Instant::now()) }
impl Drop for G { fn drop(&mut self) { let t = self.1.elapsed().as_secs_f64(); let mut m = M.lock().unwrap(); let e = m.entry(self.0.clone()).or_default(); e.0 += t; e.1 += 1; } }
pub fn dump() { let mut v: Vec<_> = M.lock().unwrap().clone().into_iter().collect(); v.sort_by(|a,b| b.1.0.total_cmp(&a.1.0)); for (k,(t,n)) in v { eprintln!("{:10.2} ms {:6} {k}", t*1e3, n); } M.lock().unwrap().clear(); }
