;; Functions of numbers, in the text of WebAssembly: they need no memory.
(module
  ;; n * 3 + 1, wrapping
  (func (export "score") (param $n i64) (result i64)
    (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))

  ;; (x * 9 / 5) + 32
  (func (export "fahrenheit") (param $celsius f64) (result f64)
    (f64.add
      (f64.div (f64.mul (local.get $celsius) (f64.const 9)) (f64.const 5))
      (f64.const 32)))

  ;; The bits that are set.
  (func (export "bits") (param $n i64) (result i64)
    (i64.popcnt (local.get $n))))
