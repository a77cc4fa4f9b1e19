/** Which function a URL names: `/function/NAME[:alias|@version]/*path`. PURE.
 *
 * Boundary: only the text; whether the function exists is the catalog's business. A URL is taken apart by position, so
 * path and query below the function reach it byte for byte. */

export interface Target {
  readonly name: string
  /** An alias, or `@` and a version or a prefix of it; undefined for the live version. */
  readonly ref: string | undefined
  /** Path and query below the function, starting with `/`. */
  readonly url: string
}

export const prefix = "/function/"

/** The longest name, alias or version in a URL. */
const longest = 128
const nameOf = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const refOf = /^@?[A-Za-z0-9][A-Za-z0-9._-]*$/

/** Undefined when it names no function in the right form. `url` starts with `prefix`. */
export const parse = (url: string): Target | undefined => {
  let end = prefix.length
  let split = 0
  for (; end < url.length; end++) {
    const code = url.charCodeAt(end)
    if (code === 0x2f || code === 0x3f) break
    if (split === 0 && (code === 0x3a || code === 0x40)) split = end
  }
  const name = url.slice(prefix.length, split === 0 ? end : split)
  if (name.length > longest || !nameOf.test(name)) return undefined
  const rest = end === url.length ? "/" : url.charCodeAt(end) === 0x3f ? `/${url.slice(end)}` : url.slice(end)
  if (split === 0) return { name, ref: undefined, url: rest }
  const ref = url.slice(url.charCodeAt(split) === 0x40 ? split : split + 1, end)
  return ref.length > longest || !refOf.test(ref) ? undefined : { name, ref, url: rest }
}
