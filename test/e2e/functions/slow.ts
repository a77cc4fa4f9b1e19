await new Promise((resolve) => setTimeout(resolve, 150)) // a start that takes a while, so that callers pile up

export default async (request: Request): Promise<Response> => {
  const ms = Number(new URL(request.url).searchParams.get("ms") ?? "5")
  await new Promise((resolve) => setTimeout(resolve, ms))
  return new Response("slept\n")
}
