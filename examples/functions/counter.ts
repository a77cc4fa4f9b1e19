/** Counts the calls of this instance, after a pause of `?ms` milliseconds (100 unless told, 10 seconds at most).
 *
 * What a module keeps in variables lives as long as one instance of it: calls of a warm copy count on, and a copy on
 * another node, or a second one beside it, counts for itself.
 *
 * curl 'http://127.0.0.1:8080/function/counter?ms=0'
 * {"count":1,"since":"2026-01-31T12:00:00.000Z"} */
const since = new Date().toISOString()
let count = 0

export default async (request: Request): Promise<Response> => {
  const asked = Number(new URL(request.url).searchParams.get("ms") ?? 100)
  const ms = Number.isFinite(asked) ? Math.min(Math.max(asked, 0), 10_000) : 100
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
  count += 1
  return Response.json({ count, since })
}
