"""The registry protocol without I/O: header values, bodies and URLs in, frozen values and decisions out.

Nothing here awaits, opens a socket or reads a clock: every rule that can be stated without a connection lives in this
package, so that its test needs no event loop. All input is hostile; every parser is linear in it, caps it, and raises
nothing but the ``ocidist.errors`` classes its docstring names.
"""
