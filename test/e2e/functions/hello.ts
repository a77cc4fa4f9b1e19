export default (request: Request): Response =>
  new Response(`hello ${new URL(request.url).searchParams.get("name") ?? "you"}\n`)
