/** Answers, or never returns when it is told to. */
export default (request: Request): Response => {
  while (new URL(request.url).searchParams.has("spin"));
  return new Response("fine\n")
}
