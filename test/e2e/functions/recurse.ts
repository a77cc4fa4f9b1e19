/** Calls itself through its node, for ever or so many levels deep, and passes the answer on with the number of levels. */
export default async (request: Request, env: Record<string, string>): Promise<Response> => {
  const levels = Number(new URL(request.url).searchParams.get("levels") ?? Infinity)
  if (levels === 0) return new Response("the end\n")
  const inner = await fetch(`${env["SHOAL_SERVER"]}/function/recurse?levels=${levels - 1}`)
  return new Response(await inner.text(), {
    status: inner.status,
    headers: { "x-levels": `${Number(inner.headers.get("x-levels") ?? 0) + 1}` }
  })
}
