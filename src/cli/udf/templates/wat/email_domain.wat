;; A function for Millstream, in the text of WebAssembly. README.md says how it is tested and used.
;;
;; email_domain.wit has the function's types. By the canonical ABI a string comes as an address and
;; a length, and an option<string> goes as the address of three words: whether it is there, its
;; address, its length. A function of numbers needs none of this: neither memory nor types.
(module
  (memory (export "memory") 1)
  ;; Where free memory begins. The answer is at 0.
  (global $free (mut i32) (i32.const 16))

  ;; The domain of an e-mail address, in lower case; NULL where there is none.
  ;;
  ;; Nobody calls it for an email that is NULL: the answer is NULL. `unreachable` fails a row.
  (func (export "email-domain") (param $email i32) (param $length i32) (result i32)
    (local $from i32) (local $end i32) (local $byte i32)
    (local.set $end (i32.add (local.get $email) (local.get $length)))
    ;; From the end back to the last @.
    (local.set $from (local.get $end))
    (block $found
      (loop $back
        (br_if $found (i32.eq (local.get $from) (local.get $email)))
        (br_if $found
          (i32.eq (i32.load8_u (i32.sub (local.get $from) (i32.const 1))) (i32.const 64)))
        (local.set $from (i32.sub (local.get $from) (i32.const 1)))
        (br $back)))
    ;; NULL without something before the @ and something behind it.
    (if (i32.or
          (i32.lt_u (i32.sub (local.get $from) (local.get $email)) (i32.const 2))
          (i32.eq (local.get $from) (local.get $end)))
      (then
        (i32.store (i32.const 0) (i32.const 0))
        (return (i32.const 0))))
    (i32.store (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (local.get $from))
    (i32.store (i32.const 8) (i32.sub (local.get $end) (local.get $from)))
    ;; Lower case in place: the text that came is the function's own.
    (loop $lower
      (local.set $byte (i32.load8_u (local.get $from)))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 65)) (i32.const 26))
        (then (i32.store8 (local.get $from) (i32.add (local.get $byte) (i32.const 32)))))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if $lower (i32.lt_u (local.get $from) (local.get $end))))
    (i32.const 0))

  ;; The answer has been read: all memory is free again.
  (func (export "cabi_post_email-domain") (param $answer i32)
    (global.set $free (i32.const 16)))

  ;; Memory for what the host hands over.
  (func (export "cabi_realloc")
      (param $old i32) (param $old_length i32) (param $align i32) (param $length i32) (result i32)
    (local $at i32) (local $pages i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $length)))
    (if (i32.lt_u (global.get $free) (local.get $at)) (then (unreachable)))
    (local.set $pages
      (i32.sub
        (i32.add (i32.shr_u (global.get $free) (i32.const 16)) (i32.const 1))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then (unreachable)))))
    (memory.copy (local.get $at) (local.get $old) (local.get $old_length))
    (local.get $at)))
